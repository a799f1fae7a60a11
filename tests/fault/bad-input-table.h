/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What bad input gets: ROW(name, stream, code, evidence in the message,
 * section where it failed or NULL, where the record begins, how far it was
 * read, further options). docs/errors.md has the same rows; tests/lint
 * compares.
 */
ROW("bad magic", magic, MALFORMED,
    "magic", NULL, 0x0, 0x0)
ROW("old version", old_version, UNSUPPORTED,
    "version", NULL, 0x0, 0x8)
ROW("other machine", other_machine, MISMATCH,
    "pc-other", NULL, 0x8, 0x15)
ROW("machine name longer than expected", longer_machine, MISMATCH,
    "and-more", NULL, 0x8, 0x1d)
ROW("missing configuration", no_configuration, MALFORMED,
    "expected a configuration section", NULL, 0x8, 0x9)
ROW("gigantic machine name", huge_machine, LIMIT,
    "configuration_names", NULL, 0x8, 0xd)
ROW("NUL in the machine name", machine_with_nul, MALFORMED,
    "NUL", NULL, 0x8, 0x11)
ROW("other page bits", other_page_bits, MISMATCH,
    "14", NULL, 0x8, 0x3c)
ROW("absurd page bits", absurd_page_bits, MALFORMED,
    "64", NULL, 0x8, 0x3c)
ROW("capability that the host lacks", other_capability, MISMATCH,
    "x-ignore-shared", NULL, 0x8, 0x48)
ROW("unknown capability", unknown_capability, UNSUPPORTED,
    "no-such-thing", NULL, 0x8, 0x46)
ROW("endless capabilities", endless_capabilities, LIMIT,
    "configuration_names", NULL, 0x8, 0x38)
ROW("other UUID", other_uuid, MISMATCH,
    "UUID", NULL, 0x8, 0x3c)
ROW("unknown configuration subsection", unknown_configuration, UNSUPPORTED,
    "configuration/future", NULL, 0x8, 0x2e)
ROW("newer configuration subsection", newer_configuration, UNSUPPORTED,
    "version", NULL, 0x8, 0x2c)
ROW("unknown section type", unknown_record, MALFORMED,
    "0x42", NULL, 0x14, 0x15)
ROW("second configuration", second_configuration, MALFORMED,
    "0x07", NULL, 0x14, 0x15)
ROW("footer without a section", stray_footer, MALFORMED,
    "0x7e", NULL, 0x14, 0x15)
ROW("description before EOF", early_vmdesc, MALFORMED,
    "0x06", NULL, 0x14, 0x15)
ROW("unknown idstr", unknown_idstr, MISMATCH,
    "nobody", "nobody", 0x14, 0x28)
ROW("unknown instance", unknown_instance, MISMATCH,
    "instance 1", "dev", 0x14, 0x25)
ROW("empty idstr", empty_idstr, MALFORMED,
    "length 0", NULL, 0x14, 0x19)
ROW("NUL in an idstr", idstr_with_nul, MALFORMED,
    "NUL", NULL, 0x14, 0x19)
ROW("version too new", too_new, UNSUPPORTED,
    "expected version 1 to 2, found 3", "dev", 0x14, 0x25)
ROW("version too old", too_old, UNSUPPORTED,
    "found 0", "dev", 0x14, 0x25)
ROW("negative version", negative_version, UNSUPPORTED,
    "found 4294967295", "dev", 0x14, 0x25)
ROW("RAM of another version", ram_version, UNSUPPORTED,
    "expected version 4, found 3", "ram", 0x14, 0x25)
ROW("section id re-announced for another device", id_changes_device, MALFORMED,
    "apply", NULL, 0x2e, 0x41)
ROW("PART of an unknown id", part_of_unknown_id, MALFORMED,
    "77", NULL, 0x14, 0x19)
ROW("END of an unknown id", end_of_unknown_id, MALFORMED,
    "77", NULL, 0x14, 0x19)
ROW("too many sections", many_sections, LIMIT,
    "sections", NULL, 0x118, 0x129, .limit = "sections", .limit_value = 10)
ROW("footer of another section", footer_of_other, MALFORMED,
    "footer", "ram", 0x49, 0x56)
ROW("missing footer", no_footer, MALFORMED,
    "footer", "ram", 0x49, 0x56)
ROW("payload longer than the device", device_gets_more, MALFORMED,
    "footer", "dev", 0x14, 0x29)
ROW("payload shorter than the device", device_gets_less, MALFORMED,
    "footer", "dev", 0x14, 0x29)
ROW("section beyond the limit", big_section, LIMIT,
    "section", "dev", 0x14, 0x25, .limit = "section_bytes", .limit_value = 4096)
ROW("end inside of a section", ends_in_section, TRUNCATED,
    "end", "dev", 0x14, 0x25)
ROW("end before EOF", ends_before_eof, TRUNCATED,
    "EOF", NULL, 0x2e, 0x2e)
ROW("command 0", command_zero, MALFORMED,
    "command", NULL, 0x14, 0x19)
ROW("unknown command", unknown_command, UNSUPPORTED,
    "12", NULL, 0x14, 0x19)
ROW("command of a wrong length", short_ping, MALFORMED,
    "PING", NULL, 0x19, 0x1e)
ROW("oversized command", oversized_command, MALFORMED,
    "SWITCHOVER_START", NULL, 0x14, 0x19)
ROW("PING without a return path", ping_without_path, MALFORMED,
    "OPEN_RETURN_PATH", NULL, 0x14, 0x1d)
ROW("package beyond the limit", big_package, LIMIT,
    "package_bytes", NULL, 0x14, 0x1d)
ROW("package cut short", short_package, TRUNCATED,
    "end", NULL, 0x14, 0x1e)
ROW("package without an end", open_package, TRUNCATED,
    "EOF", NULL, 0x37, 0x37)
ROW("package in a package", nested_package, MALFORMED,
    "package", NULL, 0x1d, 0x26)
ROW("packages nested too deep", package_too_deep, LIMIT,
    "nesting", NULL, 0x14, 0x1e, .limit = "nesting", .limit_value = 1)
ROW("POSTCOPY_ADVISE with page sizes", postcopy_advise, UNSUPPORTED,
    "POSTCOPY_ADVISE", NULL, 0x14, 0x29)
ROW("POSTCOPY_LISTEN", postcopy_listen, UNSUPPORTED,
    "POSTCOPY_LISTEN", NULL, 0x14, 0x19)
ROW("POSTCOPY_RUN", postcopy_run, UNSUPPORTED,
    "POSTCOPY_RUN", NULL, 0x14, 0x19)
ROW("POSTCOPY_RESUME", postcopy_resume, UNSUPPORTED,
    "POSTCOPY_RESUME", NULL, 0x14, 0x19)
ROW("POSTCOPY_RAM_DISCARD", ram_discard, UNSUPPORTED,
    "POSTCOPY_RAM_DISCARD", NULL, 0x14, 0x2d)
ROW("ENABLE_COLO", enable_colo, UNSUPPORTED,
    "ENABLE_COLO", NULL, 0x14, 0x19)
ROW("RECV_BITMAP", recv_bitmap, UNSUPPORTED,
    "RECV_BITMAP", NULL, 0x14, 0x20)
ROW("mapped-ram of a later version", mapped_version, UNSUPPORTED,
    "version 1, found 2", "ram", 0x43, 0x87, .take_all = true)
ROW("mapped-ram with other pages", mapped_page_size, MISMATCH,
    "found 8192", "ram", 0x43, 0x87, .take_all = true)
ROW("mapped-ram with pages of no size", mapped_no_size, MALFORMED,
    "found 0", "ram", 0x43, 0x87, .take_all = true)
ROW("mapped-ram pages out of step", mapped_unaligned, MALFORMED,
    "multiple of 4096", "ram", 0x43, 0x87, .take_all = true)
ROW("mapped-ram bitmap that goes back", mapped_back, MALFORMED,
    "expected a bitmap", "ram", 0x43, 0x87, .take_all = true)
ROW("mapped-ram pages over the bitmap", mapped_overlap, MALFORMED,
    "bytes of pages", "ram", 0x43, 0x87, .take_all = true)
ROW("mapped-ram pages at the end of the world", mapped_far, MALFORMED,
    "bytes of pages", "ram", 0x43, 0x87, .take_all = true)
ROW("mapped-ram bitmap of more pages", mapped_more, MALFORMED,
    "last word of the bitmap", "ram", 0x43, 0x87, .take_all = true)
ROW("mapped-ram bitmap cut short", mapped_no_bitmap, TRUNCATED,
    "of a bitmap", "ram", 0x43, 0x87, .take_all = true)
ROW("mapped-ram pages cut short", mapped_no_pages, TRUNCATED,
    "bytes of pages", "ram", 0x43, 0x87, .take_all = true)
ROW("page in a mapped-ram stream", mapped_page, MALFORMED,
    "expected no page", "ram", 0x43, 0x5008, .take_all = true)
ROW("unknown RAM block", unknown_block, MISMATCH,
    "other.ram", "ram", 0x14, 0x3f)
ROW("RAM block of another length", other_length, MISMATCH,
    "pc.ram", "ram", 0x14, 0x3c)
ROW("block list longer than its sum", sum_exceeded, MALFORMED,
    "pc.ram", "ram", 0x14, 0x3c)
ROW("gigantic RAM", gigantic_ram, LIMIT,
    "ram_bytes", "ram", 0x14, 0x2d)
ROW("block list that does not end", endless_blocks, MALFORMED,
    "length", "ram", 0x14, 0x3c)
ROW("too many blocks", many_blocks, LIMIT,
    "ram_blocks", "ram", 0x14, 0x375, .take_all = true, .limit = "ram_blocks",
    .limit_value = 50)
ROW("page of an unknown block", page_of_unknown_block, MALFORMED,
    "nowhere", "ram", 0x49, 0x5e)
ROW("page of no block", page_of_no_block, MALFORMED,
    "block", "ram", 0x49, 0x56)
ROW("page beyond its block", page_beyond_block, MALFORMED,
    "pc.ram", "ram", 0x49, 0x5d)
ROW("page at the end of the world", page_far_beyond, MALFORMED,
    "pc.ram", "ram", 0x49, 0x5d)
ROW("two flags at once", two_flags, MALFORMED,
    "flags", "ram", 0x49, 0x56)
ROW("unknown flag", unknown_flag, MALFORMED,
    "0x400", "ram", 0x49, 0x56)
ROW("no flag", no_flag, MALFORMED,
    "flags", "ram", 0x49, 0x56)
ROW("RDMA hook without RDMA", hook, MALFORMED,
    "RDMA only", "ram", 0x49, 0x56)
ROW("zero page that is not zero", nonzero_zero, MALFORMED,
    "zero", "ram", 0x49, 0x5e)
ROW("XBZRLE past the page", xbzrle_past_page, MALFORMED,
    "XBZRLE", "ram", 0x49, 0x60)
ROW("XBZRLE past its data", xbzrle_past_data, MALFORMED,
    "XBZRLE", "ram", 0x49, 0x60)
ROW("XBZRLE with an empty run", xbzrle_zero_run, MALFORMED,
    "XBZRLE", "ram", 0x49, 0x60)
ROW("XBZRLE with a number of three bytes", xbzrle_long_number, MALFORMED,
    "XBZRLE", "ram", 0x49, 0x60)
ROW("XBZRLE with half a number", xbzrle_cut_number, MALFORMED,
    "XBZRLE", "ram", 0x49, 0x60)
ROW("XBZRLE longer than a page", xbzrle_too_long, MALFORMED,
    "XBZRLE", "ram", 0x49, 0x60)
ROW("XBZRLE of another encoding", xbzrle_encoding, MALFORMED,
    "XBZRLE", "ram", 0x49, 0x60)
#ifdef VMLOAD_HAVE_ZLIB
ROW("compressed page that is garbage", compressed_garbage, MALFORMED,
    "zlib", "ram", 0x49, 0x70)
ROW("compressed page of absurd length", compressed_too_long, MALFORMED,
    "compressed", "ram", 0x49, 0x61)
#else
ROW("compressed page without zlib", compressed_garbage, UNSUPPORTED,
    "zlib", "ram", 0x49, 0x5d)
#endif
ROW("field that must be equal and is not", field_not_equal, MISMATCH,
    "model", "state", 0x14, 0x2b)
ROW("array beyond its room", array_overflow, MALFORMED,
    "values", "state", 0x14, 0x2f)
ROW("gigantic count", gigantic_count, LIMIT,
    "more", "state", 0x14, 0x33)
ROW("unknown subsection", unknown_subsection, UNSUPPORTED,
    "state/future", "state", 0x14, 0x33)
ROW("newer subsection", newer_subsection, UNSUPPORTED,
    "state/extra", "state", 0x14, 0x44)
ROW("state that ends early", short_state, MALFORMED,
    "values", "state", 0x14, 0x2f)
ROW("description missing though required", vmdesc_missing, MALFORMED,
    "description", NULL, 0x2e, 0x2f, .require_vmdesc = true)
ROW("description cut short", vmdesc_cut, TRUNCATED,
    "end", NULL, 0x2f, 0x3b)
ROW("description beyond the limit", vmdesc_gigantic, LIMIT,
    "vmdesc_bytes", NULL, 0x2f, 0x34)
#ifdef VMLOAD_HAVE_JANSSON
ROW("description that is no JSON", vmdesc_no_json, MALFORMED,
    "JSON", NULL, 0x2f, 0x45, .atomic = true)
ROW("description of another device", vmdesc_other_device, MALFORMED,
    "other", NULL, 0x2f, 0xbf, .atomic = true)
ROW("description of another size", vmdesc_other_size, MALFORMED,
    "5", NULL, 0x2f, 0xbd, .atomic = true)
ROW("description without the device", vmdesc_no_device, MALFORMED,
    "dev", NULL, 0x2f, 0x56, .atomic = true)
ROW("description nested 100000 deep", vmdesc_deep, LIMIT,
    "nesting", NULL, 0x2f, 0x186f3, .atomic = true)
ROW("description whose sizes overflow", vmdesc_sizes_overflow, LIMIT,
    "elements", NULL, 0x2f, 0xf3, .atomic = true)
#endif
