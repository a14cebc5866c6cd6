#![no_main]
libfuzzer_sys::fuzz_target!(init: tidewire_fuzz::prepare("text"), |bytes: &[u8]| tidewire_fuzz::text(bytes));
