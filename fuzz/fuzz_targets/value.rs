#![no_main]
libfuzzer_sys::fuzz_target!(init: tidewire_fuzz::prepare("value"), |bytes: &[u8]| tidewire_fuzz::value(bytes));
