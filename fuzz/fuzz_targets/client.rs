#![no_main]
libfuzzer_sys::fuzz_target!(init: tidewire_fuzz::prepare("client"), |bytes: &[u8]| tidewire_fuzz::client(bytes));
