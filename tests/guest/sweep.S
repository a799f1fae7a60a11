/*
 * A guest that fits in a boot sector: it switches to protected mode and then
 * sweeps over a range of memory for ever, writing a pattern that can be
 * checked word by word (tests/guest/README.md), and prints one character on
 * the first serial port per sweep.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

    .set PAGE_WORDS, 1024
    .set SEED_SWEEP, 0x9e3779b1
    .set SEED_PAGE, 0x85ebca6b
    .set FILL_PAGE, 0xc2b2ae35
    .set COM1, 0x3f8

    .code16
    .globl _start
_start:
    jmp enter
    nop

    /* What a harness may patch; find it by its name (offset 4). */
    .org 4
    .ascii "VMSWEEP1"
range_start:                    /* offset 12: first byte, page aligned */
    .long SWEEP_START
range_end:                      /* offset 16: byte behind the last one */
    .long SWEEP_END
page_delay:                     /* offset 20: empty loops after each page */
    .long SWEEP_DELAY

enter:
    cli
    xorw %ax, %ax
    movw %ax, %ds
    inb $0x92, %al              /* A20 on */
    orb $2, %al
    andb $0xfe, %al
    outb %al, $0x92
    lgdtl gdt_pointer
    movl %cr0, %eax
    orb $1, %al
    movl %eax, %cr0
    ljmpl $8, $protected

    .code32
protected:
    movw $16, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    cld
    movl range_start, %edi      /* firmware leaves things behind */
    movl range_end, %ecx
    subl %edi, %ecx
    shrl $2, %ecx
    xorl %eax, %eax
    rep stosl
    movl $1, %esi               /* sweep */

    /*
     * edi: where to write, always ascending; esi: sweep; ebp: page frame;
     * ebx: seed, then state of the generator; edx: sum; ecx: word index.
     */
next_sweep:
    movl range_start, %edi
next_page:
    movl %edi, %ebp
    shrl $12, %ebp
    imull $SEED_SWEEP, %esi, %ebx
    imull $SEED_PAGE, %ebp, %eax
    xorl %eax, %ebx
    orl $1, %ebx
    movl %ebp, %eax
    andb $7, %al
    cmpb $6, %al
    jae skip_page               /* kinds 6 and 7: not written again */
    cmpb $5, %al
    jne write_page
    testl $1, %esi
    jz clear_page               /* kind 5: zero in every second sweep */

write_page:
    movl %esi, %eax
    stosl
    movl %esi, %edx
    movl %ebp, %eax
    stosl
    addl %eax, %edx
    movl $2, %ecx
    testl $6, %ebp
    jnz sparse_page

random_word:                    /* kinds 0 and 1: xorshift32 */
    movl %ebx, %eax
    shll $13, %eax
    xorl %eax, %ebx
    movl %ebx, %eax
    shrl $17, %eax
    xorl %eax, %ebx
    movl %ebx, %eax
    shll $5, %eax
    xorl %ebx, %eax
    movl %eax, %ebx
    stosl
    addl %eax, %edx
    incl %ecx
    cmpl $(PAGE_WORDS - 1), %ecx
    jne random_word
    jmp finish_page

sparse_page:                    /* kinds 2 to 5: few words change */
    imull $FILL_PAGE, %ebp, %eax
    cmpb $0x80, %cl
    jne 1f
    movl %ebx, %eax
1:
    stosl
    addl %eax, %edx
    incl %ecx
    cmpl $(PAGE_WORDS - 1), %ecx
    jne sparse_page

finish_page:
    movl %edx, %eax
    stosl
    jmp page_done

clear_page:
    xorl %eax, %eax
    movl $PAGE_WORDS, %ecx
    rep stosl

    /*
     * QEMU's TCG can lose track of writes while it migrates: a TLB entry
     * stays writable although the page's dirty bit was cleared. Flush the
     * TLB (a changed CR0.WP does it, paging is off) and store the last word
     * again, so that a page that has changed is always seen as dirty.
     */
page_done:
    movl %cr0, %eax
    xorl $0x10000, %eax
    movl %eax, %cr0
    movl -4(%edi), %eax
    movl %eax, -4(%edi)
    jmp page_delayed

skip_page:
    addl $(PAGE_WORDS * 4), %edi
page_delayed:
    movl page_delay, %ecx
    jecxz 2f
1:
    decl %ecx
    jnz 1b
2:
    cmpl range_end, %edi
    jb next_page

    movw $(COM1 + 5), %dx       /* wait for the transmitter */
3:
    inb %dx, %al
    testb $0x20, %al
    jz 3b
    movw $COM1, %dx
    movl %esi, %eax             /* 'a' to 'p' */
    andb $15, %al
    addb $'a', %al
    outb %al, %dx
    incl %esi
    jmp next_sweep

    .balign 8
gdt:
    .quad 0
    .quad 0x00cf9a000000ffff    /* 0x08: flat code */
    .quad 0x00cf92000000ffff    /* 0x10: flat data */
gdt_pointer:
    .word gdt_pointer - gdt - 1
    .long gdt

    .org 510
    .word 0xaa55
