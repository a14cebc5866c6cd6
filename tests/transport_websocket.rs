//! A link over something that is only shaped like a `WebSocket`, in a browser.

#![cfg(target_arch = "wasm32")]

use std::{cell::RefCell, rc::Rc};

use js_sys::{Array, Function, Object, Reflect, Uint8Array};
use tidewire::{
    protocol::limits::MAX_FRAME_BYTES,
    transport::{LinkEvent, WebSocketLink},
};
use wasm_bindgen::{JsCast, JsValue, closure::Closure};
use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};

wasm_bindgen_test_configure!(run_in_browser);

/// An object with the members of a socket that the link uses. What is called on it is kept in `calls`.
struct Socket {
    object: Object,
    calls: Array,
    _methods: [Closure<dyn FnMut(JsValue)>; 2],
}

impl Socket {
    fn new() -> Self {
        let (object, calls) = (Object::new(), Array::new());
        let method = |name: &'static str| {
            let calls = calls.clone();
            let closure = Closure::<dyn FnMut(JsValue)>::new(move |argument: JsValue| {
                // A frame is a view of WASM memory: whoever keeps it has to copy it.
                let argument = argument
                    .dyn_ref::<Uint8Array>()
                    .map_or(argument.clone(), |view| view.slice(0, view.length()).into());
                calls.push(&Array::of2(&name.into(), &argument));
            });
            Reflect::set(&object, &name.into(), closure.as_ref()).expect("a plain object takes any member");
            closure
        };
        let methods = [method("send"), method("close")];
        Self { object, calls, _methods: methods }
    }

    fn fire(&self, handler: &str, members: &[(&str, JsValue)]) {
        let event = Object::new();
        for (name, value) in members {
            Reflect::set(&event, &(*name).into(), value).expect("a plain object takes any member");
        }
        let handler = Reflect::get(&self.object, &handler.into()).expect("a plain object can be read");
        if let Some(handler) = handler.dyn_ref::<Function>() {
            handler.call1(&JsValue::NULL, &event).expect("the link never throws");
        }
    }
}

fn opened() -> (Socket, WebSocketLink, Rc<RefCell<Vec<String>>>) {
    let socket = Socket::new();
    let heard = Rc::new(RefCell::new(Vec::new()));
    let link = WebSocketLink::new(socket.object.clone().into(), {
        let heard = Rc::clone(&heard);
        move |event| {
            heard.borrow_mut().push(match event {
                LinkEvent::Opened => "opened".to_owned(),
                LinkEvent::Frame(frame) => format!("frame {frame:?}"),
                LinkEvent::Closed { code, reason } => format!("closed {code} {reason}"),
            });
        }
    });
    (socket, link, heard)
}

#[wasm_bindgen_test]
fn what_happens_on_the_socket_is_told_in_order_and_frames_arrive_as_their_bytes() {
    let (socket, link, heard) = opened();
    assert!(link.is_open(), "without `readyState` it is open from the start");
    socket.fire("onopen", &[]);
    socket.fire("onmessage", &[("data", Uint8Array::from(&[1, 2, 3][..]).buffer().into())]);
    socket.fire("onmessage", &[("data", Uint8Array::from(&[4][..]).buffer().into())]);
    socket.fire("onclose", &[("code", 4000.into()), ("reason", "restarting".into())]);
    assert_eq!(*heard.borrow(), ["opened", "frame [1, 2, 3]", "frame [4]", "closed 4000 restarting"]);
}

#[wasm_bindgen_test]
fn frames_are_sent_as_bytes_and_asked_for_as_buffers() {
    let (socket, link, _) = opened();
    assert_eq!(Reflect::get(&socket.object, &"binaryType".into()).expect("set"), "arraybuffer");
    link.send(&[7, 8]).expect("the socket takes it");
    link.close(4001);
    let sent = Array::from(&socket.calls.get(0));
    assert_eq!(sent.get(0), "send");
    assert_eq!(Uint8Array::new(&sent.get(1)).to_vec(), [7, 8]);
    assert_eq!(Array::from(&socket.calls.get(1)).get(1), 4001);
}

#[wasm_bindgen_test]
fn a_frame_over_the_limit_ends_the_link_and_is_not_copied() {
    let (socket, _link, heard) = opened();
    let length = u32::try_from(MAX_FRAME_BYTES + 1).expect("it is a megabyte");
    socket.fire("onmessage", &[("data", Uint8Array::new_with_length(length).buffer().into())]);
    assert_eq!(*heard.borrow(), ["closed 1009 the server sent a frame over the limit"]);
}

#[wasm_bindgen_test]
fn a_text_frame_is_no_frame_of_the_protocol() {
    let (socket, _link, heard) = opened();
    socket.fire("onmessage", &[("data", "hello".into())]);
    assert_eq!(*heard.borrow(), ["frame []"]);
}

#[wasm_bindgen_test]
fn nothing_is_heard_of_a_link_that_was_dropped() {
    let (socket, link, heard) = opened();
    drop(link);
    socket.fire("onmessage", &[("data", Uint8Array::from(&[1][..]).buffer().into())]);
    socket.fire("onclose", &[("code", 1006.into())]);
    assert!(heard.borrow().is_empty());
}
