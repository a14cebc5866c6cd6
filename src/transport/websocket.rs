//! A link over anything shaped like a browser `WebSocket`: the real one, Node's `ws`, or the in-page server's link.

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::RefCell;

use js_sys::{ArrayBuffer, Reflect, Uint8Array};
use wasm_bindgen::{JsCast, JsValue, closure::Closure};
use web_sys::{BinaryType, CloseEvent, MessageEvent, WebSocket};

use crate::protocol::limits::MAX_FRAME_BYTES;

/// `WebSocket.OPEN`.
const OPEN: u16 = 1;
/// What a browser reports where no close frame came.
const ABNORMAL: u16 = 1006;

/// What happened on a link.
#[derive(Debug)]
pub enum LinkEvent<'a> {
    /// It is open.
    Opened,
    /// A frame came.
    Frame(&'a [u8]),
    /// It is closed.
    Closed {
        /// The close code.
        code: u16,
        /// The peer's words.
        reason: &'a str,
    },
}

/// One open or opening link. Dropping it detaches its handlers, so that nothing is heard of it any more.
#[derive(Debug)]
pub struct WebSocketLink {
    socket: WebSocket,
    _handlers: [Closure<dyn FnMut(JsValue)>; 3],
}

impl WebSocketLink {
    /// Takes over `socket`; everything that happens on it is told to `handler`, never from within this call.
    #[must_use]
    pub fn new(socket: JsValue, handler: impl Fn(LinkEvent<'_>) + 'static) -> Self {
        // Duck-typed on purpose: the methods used are called by name.
        let socket: WebSocket = socket.unchecked_into();
        socket.set_binary_type(BinaryType::Arraybuffer);
        let handler = Rc::new(handler);

        let opened = Closure::new({
            let handler = Rc::clone(&handler);
            move |_: JsValue| handler(LinkEvent::Opened)
        });
        let frame = Closure::new({
            let handler = Rc::clone(&handler);
            let buffer = RefCell::new(Vec::new());
            move |event: JsValue| receive(&event, &buffer, &*handler)
        });
        let closed = Closure::new(move |event: JsValue| {
            let event: CloseEvent = event.unchecked_into();
            let code = Reflect::get(&event, &"code".into()).ok().and_then(|code| code.as_f64());
            let reason = Reflect::get(&event, &"reason".into()).ok().and_then(|reason| reason.as_string());
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates")]
            let code = code.map_or(ABNORMAL, |code| code as u16);
            handler(LinkEvent::Closed { code, reason: reason.as_deref().unwrap_or_default() });
        });
        let function = |closure: &Closure<dyn FnMut(JsValue)>| {
            Some(closure.as_ref().unchecked_ref::<js_sys::Function>().clone())
        };
        socket.set_onopen(function(&opened).as_ref());
        socket.set_onmessage(function(&frame).as_ref());
        socket.set_onclose(function(&closed).as_ref());
        Self { socket, _handlers: [opened, frame, closed] }
    }

    /// Whether frames can be sent. A link without `readyState`, such as the in-page one, is open from the start.
    #[must_use]
    pub fn is_open(&self) -> bool {
        let state = Reflect::get(&self.socket, &"readyState".into()).ok().and_then(|state| state.as_f64());
        state.is_none_or(|state| state == f64::from(OPEN))
    }

    /// Bytes that were given to `send` and have not left yet.
    #[must_use]
    pub fn backlog(&self) -> usize {
        usize::try_from(self.socket.buffered_amount()).unwrap_or(usize::MAX)
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// What the socket threw; the link is then as good as closed.
    pub fn send(&self, frame: &[u8]) -> Result<(), JsValue> {
        self.socket.send_with_u8_array(frame)
    }

    /// Closes the link.
    pub fn close(&self, code: u16) {
        // A socket that cannot be closed any more is closed.
        let _ = self.socket.close_with_code(code);
    }
}

impl Drop for WebSocketLink {
    fn drop(&mut self) {
        self.socket.set_onopen(None);
        self.socket.set_onmessage(None);
        self.socket.set_onclose(None);
    }
}

/// Copies a frame into WASM memory, once, into a buffer that is used again.
fn receive(event: &JsValue, buffer: &RefCell<Vec<u8>>, handler: &dyn Fn(LinkEvent<'_>)) {
    let event: &MessageEvent = event.unchecked_ref();
    let Ok(data) = event.data().dyn_into::<ArrayBuffer>() else {
        handler(LinkEvent::Frame(&[]));
        return;
    };
    let bytes = Uint8Array::new(&data);
    let length = usize::try_from(bytes.length()).unwrap_or(usize::MAX);
    let mut taken = buffer.take();
    if length <= MAX_FRAME_BYTES {
        taken.resize(length, 0);
        bytes.copy_to(&mut taken);
        handler(LinkEvent::Frame(&taken));
    } else {
        handler(LinkEvent::Closed { code: 1009, reason: "the server sent a frame over the limit" });
    }
    buffer.replace(taken);
}
