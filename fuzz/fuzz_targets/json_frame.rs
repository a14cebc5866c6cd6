#![no_main]
libfuzzer_sys::fuzz_target!(init: tidewire_fuzz::prepare("json_frame"), |bytes: &[u8]| tidewire_fuzz::json_frame(bytes));
