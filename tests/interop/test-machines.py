#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Machines and devices: all decoded, and what they say is true.

The source, stopped after its migration, is asked over HMP and QMP for the
state that vmload took out of the stream.
"""

import json
import os
import re
import subprocess
import sys

import harness
from harness import (Guest, Qemu, Receiver, check, check_decoded,
                     check_loaded, find_field, find_fields)

CLOCK = ["-rtc", "base=2020-02-03T04:05:06,clock=vm"]

# TCG keeps the arithmetic flags elsewhere while it runs.
EFLAGS_LAZY = 0x8d5


def buffer_bytes(value):
    """The bytes of a buffer field (hex digits, or numbers)."""
    if isinstance(value, dict):
        value = value["hex"]
    if isinstance(value, str):
        return bytes.fromhex(value)
    return bytes(value)


def compare(what, found, expected):
    check(found == expected, "%s: vmload has %s, the source %s", what, found,
          expected)


def check_cpu(qemu, result):
    """General registers, segments and control registers."""
    text = qemu.hmp("info registers")
    registers = dict(re.findall(r"\b([A-Z][A-Z0-9]+) ?=([0-9a-f]+)", text))
    fields = result.device("cpu")["fields"]
    names = ("AX", "CX", "DX", "BX", "SP", "BP", "SI", "DI")
    values = find_field(fields, "env.regs")
    for i, name in enumerate(names):
        shown = registers.get("R" + name) or registers["E" + name]
        compare(name, values[i], int(shown, 16))
    shown = registers.get("RIP") or registers["EIP"]
    compare("IP", find_field(fields, "env.eip"), int(shown, 16))
    flags = registers.get("RFL") or registers["EFL"]
    compare("FLAGS", find_field(fields, "env.eflags") & ~EFLAGS_LAZY,
            int(flags, 16) & ~EFLAGS_LAZY)
    for number in (0, 2, 3, 4):
        name = "CR%d" % number
        compare(name, find_field(fields, "env.cr[%d]" % number),
                int(registers[name], 16))
    order = ("ES", "CS", "SS", "DS", "FS", "GS")
    segments = find_field(fields, "env.segs")
    for i, name in enumerate(order):
        shown = re.search(r"^%s =([0-9a-f]+) ([0-9a-f]+) ([0-9a-f]+) "
                          r"([0-9a-f]+)" % name, text, re.M)
        for key, digits in zip(("selector", "base", "limit", "flags"),
                               shown.groups()):
            compare(name + "." + key, segments[i][key], int(digits, 16))
    shown = re.search(r"^GDT= +([0-9a-f]+) ([0-9a-f]+)", text, re.M)
    gdt = find_field(fields, "env.gdt")
    compare("GDT", (gdt["base"], gdt["limit"]),
            (int(shown.group(1), 16), int(shown.group(2), 16)))


def check_rtc(qemu, result):
    """The clock's registers, one by one through the guest's ports."""
    cmos = buffer_bytes(find_field(result.device("mc146818rtc")["fields"],
                                   "cmos_data"))
    compare("size of CMOS", len(cmos), 128)
    registers = set(range(0x0e, 0x80)) | {0x0a, 0x0b}
    registers.discard(0x37)             # a second name of 0x32
    for register in sorted(registers):
        qemu.set_port(0x70, register)
        found = qemu.port(0x71)
        if register == 0x0a:
            found, cmos_value = found & 0x7f, cmos[register] & 0x7f
        else:
            cmos_value = cmos[register]
        compare("CMOS 0x%02x" % register, cmos_value, found)
    # Set over the CMOS: binary coded, year 2020, 24 hours.
    now = qemu.cmd("qom-get", path="/machine", property="rtc-time")
    def decimal(register):
        return (cmos[register] >> 4) * 10 + (cmos[register] & 15)
    compare("date", (decimal(9), decimal(8), decimal(7)),
            (now["tm_year"] % 100, now["tm_mon"] + 1, now["tm_mday"]))
    seconds = (decimal(4) * 60 + decimal(2)) * 60 + decimal(0)
    shown = (now["tm_hour"] * 60 + now["tm_min"]) * 60 + now["tm_sec"]
    check(0 <= shown - seconds <= 2, "time: vmload has %d s, the source %d",
          seconds, shown)


def check_pit(qemu, result):
    """Each channel's status byte, by the read-back command."""
    channels = find_field(result.device("i8254")["fields"], "channels")
    for i, channel in enumerate(channels):
        qemu.set_port(0x43, 0xe0 | 2 << i)      # latch the status of one
        status = qemu.port(0x40 + i)
        compare("PIT %d mode" % i, channel["mode"], status >> 1 & 7)
        compare("PIT %d access" % i, channel["rw_mode"], status >> 4 & 3)
        compare("PIT %d BCD" % i, channel["bcd"], status & 1)


def check_pic(qemu, result):
    """Both interrupt controllers, by info pic."""
    text = qemu.hmp("info pic")
    for number in (0, 1):
        shown = dict(re.findall(r"(\w+)=([0-9a-f]+)", re.search(
            r"^pic%d: (.*)$" % number, text, re.M).group(1)))
        fields = result.device("i8259", number)["fields"]
        for key, name in (("irr", "irr"), ("imr", "imr"), ("isr", "isr"),
                          ("irq_base", "irq_base"), ("elcr", "elcr"),
                          ("rr_sel", "read_reg_select"),
                          ("hprio", "priority_add")):
            compare("PIC %d %s" % (number, name), find_field(fields, name),
                    int(shown[key], 16))


def check_apic(qemu, result):
    """The local and the I/O interrupt controller."""
    fields = result.device("apic")["fields"]
    text = qemu.hmp("info lapic")
    names = ("LVTT", "LVTTHMR", "LVTPC", "LVT0", "LVT1", "LVTERR")
    for value, name in zip(find_field(fields, "lvt"), names):
        shown = re.search(r"^%s\s+0x([0-9a-f]+)" % name, text, re.M)
        compare(name, value, int(shown.group(1), 16))
    shown = re.search(r"^SPIV\s+0x([0-9a-f]+)", text, re.M).group(1)
    compare("SPIV", find_field(fields, "spurious_vec"), int(shown, 16))
    pins = re.findall(r"^  pin (\d+) +0x([0-9a-f]{16})",
                      qemu.hmp("info pic"), re.M)
    table = find_field(result.device("ioapic")["fields"], "ioredtbl")
    compare("pins of the IOAPIC", len(table), len(pins))
    for value, (pin, shown) in zip(table, pins):
        compare("IOAPIC pin " + pin, value, int(shown, 16))


def check_pci(qemu, result):
    """Identity and base addresses in every decodable configuration space."""
    seen = 0
    for bus in qemu.cmd("query-pci"):
        for device in bus["devices"]:
            prefix = "0000:00:%02x.%d/" % (device["slot"],
                                           device["function"])
            for loaded in result.devices:
                if bus["bus"] or not re.match(re.escape(prefix) + "[^/]*$",
                                              loaded["name"]):
                    continue
                for value in config_spaces(loaded["fields"]):
                    compare(loaded["name"] + " identity",
                            (value[0] | value[1] << 8,
                             value[2] | value[3] << 8),
                            (device["id"]["vendor"], device["id"]["device"]))
                    check_bars(loaded["name"], value, device)
                    seen += 1
    return seen


def config_spaces(fields):
    """The configuration spaces among a device's fields."""
    for name in ("config", "config[0]", "config[1]"):
        for value in find_fields(fields, name):
            try:
                data = buffer_bytes(value)
            except (ValueError, TypeError, KeyError):
                continue
            if len(data) in (256, 4096):
                yield data


def check_bars(name, config, device):
    for region in device["regions"]:
        number = region["bar"]
        if number > 5:
            continue
        found = int.from_bytes(config[0x10 + 4 * number:0x14 + 4 * number],
                               "little")
        found &= ~3 if region["type"] == "io" else ~15
        address = region["address"]
        if address >= 0:                # -1: not mapped
            compare("%s BAR %d" % (name, number), found,
                    address & 0xffffffff)


def migrate(folder, machine, args, memory=24, boot="disk"):
    """Boot, migrate with a return path, compare; returns what was loaded."""
    guest = Guest(folder, end=0xc00000)
    uri = "unix:%s/socket" % folder
    with Qemu(folder, machine=machine, memory=memory, boot=boot, guest=guest,
              args=CLOCK + args) as qemu:
        qemu.wait_sweeps(2)
        qemu.capabilities(return_path=True)
        receiver = Receiver(folder, uri)
        qemu.migrate(uri)
        qemu.wait_migration()
        result = receiver.finish()
        check_loaded(result, qemu, pattern=True)
        check_decoded(result)
        check_ledger(result)
        check_cpu(qemu, result)
        check_pic(qemu, result)
        check_pit(qemu, result)
        check_rtc(qemu, result)
        if machine != "isapc":
            check_apic(qemu, result)
            check(check_pci(qemu, result) >= 2, "no PCI device compared")
    state = buffer_bytes(find_field(result.device("globalstate")["fields"],
                                    "runstate"))
    compare("run state", state[:state.index(0)], b"running")
    return result


def check_ledger(result):
    """The ledger has a line for each device, with its bytes."""
    lines = {(line["name"], line["instance_id"]): line
             for line in result.stat("devices")}
    for device in result.devices:
        key = (device["name"], device["instance_id"])
        check(key in lines, "%s is not in the ledger", key)
        for name in ("bytes", "staging_ns", "lock_wait_ns", "lock_held_ns"):
            check(isinstance(lines[key][name], int), "%s of %s is %s", name,
                  key, lines[key][name])
        check(lines[key]["bytes"] > 0, "%s has no bytes", key)


def test_pc(folder):
    migrate(folder, "pc", [])


def test_q35(folder):
    migrate(folder, "q35", [])


def test_isapc(folder):
    migrate(folder, "isapc", ["-cpu", "486"], boot="rom")


def test_smp(folder):
    """Several CPUs: instances of the same device."""
    result = migrate(folder, "q35", ["-smp", "4"])
    for instance in range(4):
        result.device("cpu", instance)
        result.device("apic", instance)


def null_drive(name):
    return ["-blockdev", "driver=null-co,node-name=%s,size=16777216,"
            "read-zeroes=on" % name]


def zoo():
    """A machine with more than 20 devices besides the board's own."""
    args = ["-audiodev", "none,id=sound"]
    for name in ("blk", "scsi", "sata", "nvme", "stick"):
        args += null_drive(name)
    args += ["-blockdev", "driver=null-co,node-name=cd,size=16777216,"
             "read-zeroes=on,read-only=on"]
    for device in (
            "virtio-net-pci,romfile=", "virtio-blk-pci,drive=blk",
            "virtio-scsi-pci,id=vs", "scsi-hd,bus=vs.0,drive=scsi",
            "virtio-rng-pci", "virtio-balloon-pci",
            "virtio-serial-pci,id=ser", "virtserialport,bus=ser.0,name=a",
            "virtio-keyboard-pci", "virtio-tablet-pci",
            "e1000,romfile=", "rtl8139,romfile=", "pcnet,romfile=",
            "usb-ehci,id=ehci", "usb-kbd,bus=ehci.0",
            "qemu-xhci,id=xhci", "usb-tablet,bus=xhci.0",
            "usb-mouse,bus=xhci.0", "usb-storage,bus=xhci.0,drive=stick",
            "ich9-ahci,id=ahci1", "ide-hd,bus=ahci1.0,drive=sata",
            "ide-cd,bus=ahci1.1,drive=cd",
            "VGA", "intel-hda,id=hda", "hda-duplex,bus=hda.0,audiodev=sound",
            "AC97,audiodev=sound",
            "pci-serial", "i6300esb", "pvpanic-pci"):
        args += ["-device", device]
    return args


def check_zoo(result):
    names = [device["name"] for device in result.devices]
    print("  %d devices" % len(names))
    check(len(names) >= 50, "only %d devices", len(names))
    for part in ("/virtio-net", "/virtio-blk", "/virtio-scsi", "/virtio-rng",
                 "/virtio-balloon", "/virtio-console", "/e1000", "/rtl8139",
                 "/pcnet", "/ehci", "/xhci", "/usb-kbd", "/usb-ptr",
                 "/ich9_ahci", "/vga", "/intel-hda"):
        check(any(part in name for name in names), "no %s among %s", part,
              names)


def test_pc_zoo(folder):
    check_zoo(migrate(folder, "pc", zoo(), memory=48))


def test_q35_zoo(folder):
    check_zoo(migrate(folder, "q35", zoo(), memory=48))


def test_zoo_offline(folder):
    """The commands for files agree with receive on a large stream."""
    guest = Guest(folder, end=0x800000)
    stream = os.path.join(folder, "stream")
    with Qemu(folder, machine="q35", memory=24, boot="disk", guest=guest,
              args=zoo()) as qemu:
        qemu.wait_sweeps(2)
        qemu.record(stream)
        result = Receiver(folder, "file:" + stream).finish()
        check_loaded(result, qemu, pattern=True)
    check_decoded(result)
    out = run("check", stream)
    check(out[0] == 0, "check: %d, %s%s", *out)
    out = run("dump", stream)
    check(out[0] == 0, "dump: %d, %s%s", out[0], "", out[2])
    check(json.loads(out[1]) == result.devices,
          "dump and receive differ about the devices")
    ram = os.path.join(folder, "ram")
    out = run("ram", stream, "--out", ram)
    check(out[0] == 0, "ram: %d, %s%s", *out)
    names = sorted(os.listdir(result.ram_dir))
    check(sorted(os.listdir(ram)) == names, "ram and receive differ about "
          "the blocks")
    for name in names:
        check(harness.same_files(os.path.join(ram, name), os.path.join(
            result.ram_dir, name)) is None, "ram and receive differ in %s",
            name)
    out = run("inspect", "--json", stream)
    check(out[0] == 0, "inspect: %d, %s%s", out[0], "", out[2])
    json.loads(out[1])


def run(*arguments):
    """Run vmload; returns (exit status, stdout, stderr)."""
    done = subprocess.run([harness.vmload_binary(), *arguments],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          timeout=harness.TIMEOUT, check=False)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_network_backends(folder):
    """User networking: an old-style section, described as one buffer."""
    uri = "unix:%s/socket" % folder
    guest = Guest(folder, end=0x400000)
    with Qemu(folder, memory=8, boot="rom", guest=guest, args=[
            "-netdev", "user,id=net", "-device",
            "e1000,netdev=net,romfile="]) as qemu:
        qemu.wait_sweeps(2)
        receiver = Receiver(folder, uri)
        qemu.migrate(uri)
        qemu.wait_migration()
        result = receiver.finish()
        check_loaded(result, qemu, pattern=True)
        check_decoded(result)
        check([d for d in result.devices if "slirp" in d["name"]],
              "no slirp among the devices")


def machine_types(folder):
    """The oldest, the newest and some in between that this QEMU has."""
    with Qemu(folder, machine="none", memory=0, name="probe") as qemu:
        names = [machine["name"] for machine in qemu.cmd("query-machines")
                 if re.match(r"pc-(i440fx|q35)-\d", machine["name"])]
    names.sort(key=lambda name: [int(n) for n in re.findall(r"\d+", name)[-2:]])
    wanted = [name for name in names if re.search(
        r"-(2\.[0-4]|2\.12|4\.0|6\.0|7\.2|9\.2|10\.0|11\.0)$", name)]
    return wanted or names[:1] + names[-1:]


def test_machine_types(folder):
    """Old types have no configuration, no footers, even no vmdescription."""
    guest = Guest(folder, end=0x400000)
    for machine in machine_types(folder):
        name = machine.replace(".", "-")
        uri = "unix:%s/%s" % (folder, name)
        with Qemu(folder, machine=machine, memory=8, boot="rom", name=name,
                  guest=guest) as qemu:
            qemu.wait_sweeps(2)
            receiver = Receiver(folder, uri)
            qemu.migrate(uri)
            qemu.wait_migration()
            result = receiver.finish()
            # Old types name the block of a backend by its path.
            block = "/objects/pc.ram"
            if not os.path.exists(result.ram(block)):
                block = "pc.ram"
            try:
                check_loaded(result, qemu, pattern=True, block=block)
                if not re.search(r"-2\.[0-2]$", machine):
                    check_decoded(result)
            except AssertionError as error:
                raise AssertionError("%s: %s" % (machine, error)) from error
            os.unlink(qemu.ram)
        print("  %-16s %d devices" % (machine, len(result.devices)))


if __name__ == "__main__":
    sys.exit(harness.main(globals()))
