/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What bad input gets: ROW(name, stream, code, evidence in the message,
 * section where it failed or NULL, further options). docs/errors.md has the
 * same rows; tests/lint compares.
 */
ROW("bad magic", magic, MALFORMED,
    "magic", NULL)
ROW("old version", old_version, UNSUPPORTED,
    "version", NULL)
ROW("other machine", other_machine, MISMATCH,
    "pc-other", NULL)
ROW("machine name longer than expected", longer_machine, MISMATCH,
    "and-more", NULL)
ROW("missing configuration", no_configuration, MALFORMED,
    "expected a configuration section", NULL)
ROW("gigantic machine name", huge_machine, LIMIT,
    "configuration_names", NULL)
ROW("NUL in the machine name", machine_with_nul, MALFORMED,
    "NUL", NULL)
ROW("other page bits", other_page_bits, MISMATCH,
    "14", NULL)
ROW("absurd page bits", absurd_page_bits, MALFORMED,
    "64", NULL)
ROW("capability that the host lacks", other_capability, MISMATCH,
    "x-ignore-shared", NULL)
ROW("unknown capability", unknown_capability, UNSUPPORTED,
    "no-such-thing", NULL)
ROW("endless capabilities", endless_capabilities, LIMIT,
    "configuration_names", NULL)
ROW("other UUID", other_uuid, MISMATCH,
    "UUID", NULL)
ROW("unknown configuration subsection", unknown_configuration, UNSUPPORTED,
    "configuration/future", NULL)
ROW("newer configuration subsection", newer_configuration, UNSUPPORTED,
    "version", NULL)
ROW("unknown section type", unknown_record, MALFORMED,
    "0x42", NULL)
ROW("second configuration", second_configuration, MALFORMED,
    "0x07", NULL)
ROW("footer without a section", stray_footer, MALFORMED,
    "0x7e", NULL)
ROW("description before EOF", early_vmdesc, MALFORMED,
    "0x06", NULL)
ROW("unknown idstr", unknown_idstr, MISMATCH,
    "nobody", "nobody")
ROW("unknown instance", unknown_instance, MISMATCH,
    "instance 1", "dev")
ROW("empty idstr", empty_idstr, MALFORMED,
    "length 0", NULL)
ROW("NUL in an idstr", idstr_with_nul, MALFORMED,
    "NUL", NULL)
ROW("version too new", too_new, UNSUPPORTED,
    "expected version 1 to 2, found 3", "dev")
ROW("version too old", too_old, UNSUPPORTED,
    "found 0", "dev")
ROW("negative version", negative_version, UNSUPPORTED,
    "found 4294967295", "dev")
ROW("RAM of another version", ram_version, UNSUPPORTED,
    "expected version 4, found 3", "ram")
ROW("section id re-announced for another device", id_changes_device, MALFORMED,
    "apply", NULL)
ROW("PART of an unknown id", part_of_unknown_id, MALFORMED,
    "77", NULL)
ROW("END of an unknown id", end_of_unknown_id, MALFORMED,
    "77", NULL)
ROW("too many sections", many_sections, LIMIT,
    "sections", NULL, .limit = "sections", .limit_value = 10)
ROW("footer of another section", footer_of_other, MALFORMED,
    "footer", "ram")
ROW("missing footer", no_footer, MALFORMED,
    "footer", "ram")
ROW("payload longer than the device", device_gets_more, MALFORMED,
    "footer", "dev")
ROW("payload shorter than the device", device_gets_less, MALFORMED,
    "footer", "dev")
ROW("section beyond the limit", big_section, LIMIT,
    "section", "dev", .limit = "section_bytes", .limit_value = 4096)
ROW("end inside of a section", ends_in_section, TRUNCATED,
    "end", "dev")
ROW("end before EOF", ends_before_eof, TRUNCATED,
    "EOF", NULL)
ROW("command 0", command_zero, MALFORMED,
    "command", NULL)
ROW("unknown command", unknown_command, UNSUPPORTED,
    "12", NULL)
ROW("command of a wrong length", short_ping, MALFORMED,
    "PING", NULL)
ROW("oversized command", oversized_command, MALFORMED,
    "SWITCHOVER_START", NULL)
ROW("PING without a return path", ping_without_path, MALFORMED,
    "OPEN_RETURN_PATH", NULL)
ROW("package beyond the limit", big_package, LIMIT,
    "package_bytes", NULL)
ROW("package cut short", short_package, TRUNCATED,
    "end", NULL)
ROW("package without an end", open_package, TRUNCATED,
    "EOF", NULL)
ROW("package in a package", nested_package, MALFORMED,
    "package", NULL)
ROW("packages nested too deep", package_too_deep, LIMIT,
    "nesting", NULL, .limit = "nesting", .limit_value = 1)
ROW("POSTCOPY_ADVISE", postcopy_advise, UNSUPPORTED,
    "POSTCOPY_ADVISE", NULL)
ROW("POSTCOPY_LISTEN", postcopy_listen, UNSUPPORTED,
    "POSTCOPY_LISTEN", NULL)
ROW("POSTCOPY_RUN", postcopy_run, UNSUPPORTED,
    "POSTCOPY_RUN", NULL)
ROW("POSTCOPY_RESUME", postcopy_resume, UNSUPPORTED,
    "POSTCOPY_RESUME", NULL)
ROW("POSTCOPY_RAM_DISCARD", ram_discard, UNSUPPORTED,
    "POSTCOPY_RAM_DISCARD", NULL)
ROW("ENABLE_COLO", enable_colo, UNSUPPORTED,
    "ENABLE_COLO", NULL)
ROW("RECV_BITMAP", recv_bitmap, UNSUPPORTED,
    "RECV_BITMAP", NULL)
ROW("mapped-ram", mapped_ram, UNSUPPORTED,
    "mapped-ram", NULL, .take_all = true)
ROW("unknown RAM block", unknown_block, MISMATCH,
    "other.ram", "ram")
ROW("RAM block of another length", other_length, MISMATCH,
    "pc.ram", "ram")
ROW("block list longer than its sum", sum_exceeded, MALFORMED,
    "pc.ram", "ram")
ROW("gigantic RAM", gigantic_ram, LIMIT,
    "ram_bytes", "ram")
ROW("block list that does not end", endless_blocks, MALFORMED,
    "length", "ram")
ROW("too many blocks", many_blocks, LIMIT,
    "ram_blocks", "ram", .take_all = true, .limit = "ram_blocks",
    .limit_value = 50)
ROW("page of an unknown block", page_of_unknown_block, MALFORMED,
    "nowhere", "ram")
ROW("page of no block", page_of_no_block, MALFORMED,
    "block", "ram")
ROW("page beyond its block", page_beyond_block, MALFORMED,
    "pc.ram", "ram")
ROW("page at the end of the world", page_far_beyond, MALFORMED,
    "pc.ram", "ram")
ROW("two flags at once", two_flags, MALFORMED,
    "flags", "ram")
ROW("unknown flag", unknown_flag, MALFORMED,
    "0x400", "ram")
ROW("no flag", no_flag, MALFORMED,
    "flags", "ram")
ROW("RDMA hook without RDMA", hook, MALFORMED,
    "RDMA only", "ram")
ROW("zero page that is not zero", nonzero_zero, MALFORMED,
    "zero", "ram")
ROW("XBZRLE past the page", xbzrle_past_page, MALFORMED,
    "XBZRLE", "ram")
ROW("XBZRLE past its data", xbzrle_past_data, MALFORMED,
    "XBZRLE", "ram")
ROW("XBZRLE with an empty run", xbzrle_zero_run, MALFORMED,
    "XBZRLE", "ram")
ROW("XBZRLE with a number of three bytes", xbzrle_long_number, MALFORMED,
    "XBZRLE", "ram")
ROW("XBZRLE with half a number", xbzrle_cut_number, MALFORMED,
    "XBZRLE", "ram")
ROW("XBZRLE longer than a page", xbzrle_too_long, MALFORMED,
    "XBZRLE", "ram")
ROW("XBZRLE of another encoding", xbzrle_encoding, MALFORMED,
    "XBZRLE", "ram")
#ifdef VMLOAD_HAVE_ZLIB
ROW("compressed page that is garbage", compressed_garbage, MALFORMED,
    "zlib", "ram")
ROW("compressed page of absurd length", compressed_too_long, MALFORMED,
    "compressed", "ram")
#else
ROW("compressed page without zlib", compressed_garbage, UNSUPPORTED,
    "zlib", "ram")
#endif
ROW("field that must be equal and is not", field_not_equal, MISMATCH,
    "model", "state")
ROW("array beyond its room", array_overflow, MALFORMED,
    "values", "state")
ROW("gigantic count", gigantic_count, LIMIT,
    "more", "state")
ROW("unknown subsection", unknown_subsection, UNSUPPORTED,
    "state/future", "state")
ROW("newer subsection", newer_subsection, UNSUPPORTED,
    "state/extra", "state")
ROW("state that ends early", short_state, MALFORMED,
    "values", "state")
ROW("description missing though required", vmdesc_missing, MALFORMED,
    "description", NULL, .require_vmdesc = true)
ROW("description cut short", vmdesc_cut, TRUNCATED,
    "end", NULL)
ROW("description beyond the limit", vmdesc_gigantic, LIMIT,
    "vmdesc_bytes", NULL)
#ifdef VMLOAD_HAVE_JANSSON
ROW("description that is no JSON", vmdesc_no_json, MALFORMED,
    "JSON", NULL, .atomic = true)
ROW("description of another device", vmdesc_other_device, MALFORMED,
    "other", NULL, .atomic = true)
ROW("description of another size", vmdesc_other_size, MALFORMED,
    "5", NULL, .atomic = true)
ROW("description without the device", vmdesc_no_device, MALFORMED,
    "dev", NULL, .atomic = true)
ROW("description nested 100000 deep", vmdesc_deep, LIMIT,
    "nesting", NULL, .atomic = true)
ROW("description whose sizes overflow", vmdesc_sizes_overflow, LIMIT,
    "elements", NULL, .atomic = true)
#endif
