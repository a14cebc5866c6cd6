#![no_main]
libfuzzer_sys::fuzz_target!(init: tidewire_fuzz::prepare("server"), |bytes: &[u8]| tidewire_fuzz::server(bytes));
