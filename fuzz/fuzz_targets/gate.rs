#![no_main]
libfuzzer_sys::fuzz_target!(init: tidewire_fuzz::prepare("gate"), |bytes: &[u8]| tidewire_fuzz::gate(bytes));
