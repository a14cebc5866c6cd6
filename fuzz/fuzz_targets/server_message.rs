#![no_main]
libfuzzer_sys::fuzz_target!(init: tidewire_fuzz::prepare("server_message"), |bytes: &[u8]| tidewire_fuzz::server_message(bytes));
