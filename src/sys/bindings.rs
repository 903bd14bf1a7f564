// SPDX-License-Identifier: GPL-2.0

//! What bindgen made of `src/bindings_helper.h`; Kbuild holds the allow-list.

#![allow(
    clippy::all,
    clippy::cast_lossless,
    clippy::ptr_as_ptr,
    clippy::ref_as_ptr,
    clippy::undocumented_unsafe_blocks,
    dead_code,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unreachable_pub,
    improper_ctypes,
    unknown_lints,
    unnecessary_transmutes,
    unsafe_op_in_unsafe_fn
)]

include!(env!("STTCP_BINDINGS"));
