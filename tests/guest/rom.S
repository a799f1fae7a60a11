/*
 * The same guest as a 64 KiB firmware image (qemu -bios), for machines too
 * small for a real firmware and for streams that shall stay small. The image
 * appears at 0xf0000; the CPU starts at its last 16 bytes. Everything is in
 * the last page, so that the others migrate as zero pages.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

    .code16
    .globl _start
_start:
    .org 0xf000
sector:
    .incbin "sweep.bin"
sector_end:

copy:
    cli
    cld
    xorw %ax, %ax
    movw %ax, %es
    movw $0x7c00, %di
    movw $0xf000, %ax
    movw %ax, %ds
    movw $(sector - _start), %si
    movw $((sector_end - sector) / 2), %cx
    rep movsw
    ljmpw $0, $0x7c00

    .org 0xfff0
    ljmpw $0xf000, $(copy - _start)
    .org 0x10000
