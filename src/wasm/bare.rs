//! What `std` brings to a wasm file, for those that do without it: an allocator and a panic handler.

use core::panic::PanicInfo;

use talc::wasm::{WasmDynamicTalc, new_wasm_dynamic_allocator};

#[global_allocator]
static ALLOCATOR: WasmDynamicTalc = new_wasm_dynamic_allocator();

/// A panic is a broken invariant: it traps, and JavaScript catches a `WebAssembly.RuntimeError`. Because nothing looks
/// at the message, neither messages nor the code that formats them are in the file.
#[panic_handler]
fn trap(_: &PanicInfo<'_>) -> ! {
    core::arch::wasm32::unreachable()
}
