//! What an application in JavaScript says about its values and its users, for the server in the page.

use alloc::{format, string::String, vec::Vec};

use js_sys::{Array, Error, Function, Uint8Array};
use wasm_bindgen::{JsCast, JsValue, prelude::wasm_bindgen};

use crate::{
    protocol::{EncodedValue, Timestamp},
    server::{Admission, Grant, Options, Permissions, Projection, Refusal, Rule, Rules},
};

/// How a server in the page behaves, in the making. Its facade says it piece by piece, and hands it over.
#[wasm_bindgen]
#[derive(Debug)]
pub struct ServerRules {
    rules: Rules,
    admission: Admission,
}

/// What a function of the application threw, for people.
#[expect(clippy::needless_pass_by_value, reason = "it maps the errors of results")]
fn thrown(error: JsValue) -> String {
    match error.dyn_ref::<Error>() {
        Some(error) => error.message().into(),
        None => error.as_string().unwrap_or_default(),
    }
}

fn bytes(value: EncodedValue<'_>) -> JsValue {
    Uint8Array::from(value.as_bytes()).into()
}

#[expect(clippy::cast_precision_loss, reason = "times of this era are below 2^53")]
fn float(now: Timestamp) -> JsValue {
    (now.as_millis() as f64).into()
}

/// Patterns as an array of strings; everything where there is none.
fn permissions(patterns: &JsValue) -> Result<Permissions, Refusal> {
    let Some(patterns) = patterns.dyn_ref::<Array>() else {
        return Ok(Permissions::everything());
    };
    let patterns: Vec<String> = patterns.iter().filter_map(|pattern| pattern.as_string()).collect();
    Permissions::parse(patterns.iter().map(String::as_str)).map_err(|error| Refusal(format!("{error}")))
}

/// A grant as the facade says it: user, end in milliseconds or nothing, what may be read and what may be written.
fn grant(said: &JsValue) -> Result<Grant, Refusal> {
    let said: &Array = said.unchecked_ref();
    let expires = said.get(1).as_f64();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast saturates")]
    Ok(Grant {
        user: said.get(0).as_string().unwrap_or_default().into(),
        expires: expires.map(|at| Timestamp::from_millis(at as u64)),
        read: permissions(&said.get(2))?,
        write: permissions(&said.get(3))?,
    })
}

#[wasm_bindgen]
impl ServerRules {
    /// No rules: everybody may do everything.
    #[wasm_bindgen(constructor)]
    pub fn new() -> Self {
        Self { rules: Rules::new(), admission: Admission::Open }
    }

    /// Has `check` make a grant of every token, or throw why not. It is given the time and the token.
    pub fn authorize(&mut self, check: Function) {
        self.admission = Admission::checked(move |now, token| {
            let token = token.map_or(JsValue::UNDEFINED, JsValue::from);
            let said = check.call2(&JsValue::UNDEFINED, &float(now), &token);
            grant(&said.map_err(|error| Refusal(thrown(error)))?)
        });
    }

    /// Says what holds for the objects, or else the datastores, that match: their schema version; what says what is
    /// wrong with an encoded value, if anything; and pairs of a field (`"*"` stands for the others) and the name of the
    /// viewer rule that shows it.
    pub fn rule(
        &mut self,
        is_object: bool,
        pattern: &str,
        version: Option<String>,
        gate: Option<Function>,
        shown: Option<Vec<String>>,
    ) {
        let mut rule = Rule::new();
        if let Some(version) = version {
            rule = rule.schema_version(&version);
        }
        if let Some(gate) = gate {
            rule = rule.gate(move |value| match gate.call1(&JsValue::UNDEFINED, &bytes(value)) {
                Ok(fault) => fault.as_string().map_or(Ok(()), Err),
                Err(error) => Err(thrown(error)),
            });
        }
        if let Some(shown) = shown {
            let mut projection = Projection::new();
            for pair in shown.chunks_exact(2) {
                projection = match pair[0].as_str() {
                    "*" => projection.others(&pair[1]),
                    field => projection.field(field, &pair[1]),
                };
            }
            rule = rule.projection(projection);
        }
        let rules = core::mem::take(&mut self.rules);
        self.rules = if is_object { rules.object(pattern, rule) } else { rules.datastore(pattern, rule) };
    }

    /// Has `resolve` compute the objects that match and were never written: encoded, or nothing. It is given the time
    /// and the key.
    pub fn resolver(&mut self, pattern: &str, resolve: Function) {
        let rules = core::mem::take(&mut self.rules);
        self.rules = rules.resolver(pattern, move |now, key| {
            let said = resolve.call2(&JsValue::UNDEFINED, &float(now), &key.into()).map_err(thrown)?;
            Ok(said.dyn_ref::<Uint8Array>().map(Uint8Array::to_vec))
        });
    }

    /// Names a viewer rule. It is given the viewer, the key and the encoded value.
    pub fn viewer(&mut self, name: &str, sees: Function) {
        let rules = core::mem::take(&mut self.rules);
        self.rules = rules.viewer(name, move |view| {
            let (viewer, key) = (view.viewer.into(), view.key.into());
            let verdict = sees.call3(&JsValue::UNDEFINED, &viewer, &key, &bytes(view.value));
            verdict.map(|verdict| verdict.is_truthy()).map_err(thrown)
        });
    }
}

impl ServerRules {
    /// The options of a server with these rules.
    pub(super) fn into_options(self, seed: [u8; 32]) -> Options {
        let mut options = Options::new(seed);
        (options.rules, options.admission) = (self.rules, self.admission);
        options
    }
}
