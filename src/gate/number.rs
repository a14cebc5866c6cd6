//! Numbers as JSON means them: `1.0` is the integer `1`, and 64 bits of an integer are compared without rounding.

use core::cmp::Ordering;

use crate::protocol::Token;

/// The least float that no 64 bits hold.
const TWO_64: f64 = 18_446_744_073_709_551_616.0;

/// From here on every float is an integer.
const TWO_53: f64 = 9_007_199_254_740_992.0;

/// A number of JSON.
#[derive(Debug, Clone, Copy)]
pub(super) enum Number {
    /// An integer of up to 64 bits and a sign; zero has none.
    Integer { is_negative: bool, magnitude: u64 },
    /// A fraction, or an integer of more than 64 bits. Finite.
    Float(f64),
}

impl Number {
    /// The number that a token is; JSON has neither NaN nor infinities.
    pub(super) fn of(token: Token<'_>) -> Option<Self> {
        match token {
            Token::Int(number) => {
                Some(Self::Integer { is_negative: number < 0, magnitude: number.unsigned_abs() })
            }
            Token::Large(magnitude) => Some(Self::Integer { is_negative: false, magnitude }),
            Token::Float(float) if float.is_finite() => Some(Self::of_float(float)),
            _ => None,
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        clippy::float_cmp,
        reason = "what the casts change, the comparison finds"
    )]
    fn of_float(float: f64) -> Self {
        let size = float.abs();
        let magnitude = size as u64;
        if size < TWO_64 && magnitude as f64 == size {
            Self::Integer { is_negative: float < 0.0, magnitude }
        } else {
            Self::Float(float)
        }
    }

    pub(super) fn is_integer(self) -> bool {
        match self {
            Self::Integer { .. } => true,
            Self::Float(float) => float.abs() >= TWO_64,
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "whoever needs it exactly looks further")]
    fn rounded(self) -> f64 {
        match self {
            Self::Integer { is_negative: true, magnitude } => -(magnitude as f64),
            Self::Integer { is_negative: false, magnitude } => magnitude as f64,
            Self::Float(float) => float,
        }
    }

    pub(super) fn compare(self, other: Self) -> Ordering {
        // Rounding keeps the order, so only what rounds to the same needs a second look.
        let (a, b) = (self.rounded(), other.rounded());
        if a < b {
            return Ordering::Less;
        }
        if a > b {
            return Ordering::Greater;
        }
        let (outer, is_negative) = match (self, other) {
            (Self::Integer { is_negative, magnitude: a }, Self::Integer { magnitude: b, .. }) => {
                (a.cmp(&b), is_negative)
            }
            // An integer that rounds to a float of this kind has rounded up to 2^64.
            (Self::Float(float), Self::Integer { .. }) => (Ordering::Greater, float < 0.0),
            (Self::Integer { .. }, Self::Float(float)) => (Ordering::Less, float < 0.0),
            (Self::Float(_), Self::Float(_)) => (Ordering::Equal, false),
        };
        if is_negative { outer.reverse() } else { outer }
    }

    /// Whether this is a multiple of `step`, which is above zero. Of fractions: whether their quotient is an integer.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::float_cmp,
        reason = "what the casts change, the comparison finds"
    )]
    pub(super) fn is_multiple_of(self, step: Self) -> bool {
        if let (Self::Integer { magnitude, .. }, Self::Integer { magnitude: step, .. }) = (self, step) {
            return magnitude.is_multiple_of(step);
        }
        let step = step.rounded();
        let quotient = self.rounded() / step;
        // So large a number is an integer, and a multiple of what one is a multiple of.
        let quotient = if quotient.is_finite() { quotient } else { 1.0 / step };
        quotient.abs() >= TWO_53 || (quotient as i64) as f64 == quotient
    }

    pub(super) fn is_above_zero(self) -> bool {
        self.rounded() > 0.0
    }

    /// The number as a count, if it is one. More than 32 bits count like the most that 32 bits hold.
    pub(super) fn count(self) -> Option<u32> {
        match self {
            Self::Integer { is_negative: false, magnitude } => {
                Some(u32::try_from(magnitude).unwrap_or(u32::MAX))
            }
            Self::Float(float) if float >= TWO_64 => Some(u32::MAX),
            Self::Integer { .. } | Self::Float(_) => None,
        }
    }
}
