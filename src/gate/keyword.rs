//! The words of JSON Schema 2020-12, as far as a gate knows them.

macro_rules! keywords {
    ($($name:ident = $text:literal,)*) => {
        /// A keyword; as the reason of a refusal, the rule that a value broke.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Keyword { $($name,)* }

        const KEYWORDS: &[(Keyword, &str)] = &[$((Keyword::$name, $text),)*];
    };
}

keywords! {
    Type = "type",
    Enum = "enum",
    Const = "const",
    Minimum = "minimum",
    Maximum = "maximum",
    ExclusiveMinimum = "exclusiveMinimum",
    ExclusiveMaximum = "exclusiveMaximum",
    MultipleOf = "multipleOf",
    MinLength = "minLength",
    MaxLength = "maxLength",
    MinItems = "minItems",
    MaxItems = "maxItems",
    MinProperties = "minProperties",
    MaxProperties = "maxProperties",
    Pattern = "pattern",
    Properties = "properties",
    PatternProperties = "patternProperties",
    AdditionalProperties = "additionalProperties",
    PropertyNames = "propertyNames",
    Required = "required",
    DependentRequired = "dependentRequired",
    DependentSchemas = "dependentSchemas",
    Items = "items",
    PrefixItems = "prefixItems",
    Contains = "contains",
    MinContains = "minContains",
    MaxContains = "maxContains",
    UniqueItems = "uniqueItems",
    AllOf = "allOf",
    AnyOf = "anyOf",
    OneOf = "oneOf",
    Not = "not",
    If = "if",
    Then = "then",
    Else = "else",
    Ref = "$ref",
    Schema = "$schema",
    Id = "$id",
    // No keywords of a schema, but reasons: the schema `false`, a check that takes too long, a value that a library may
    // change.
    Never = "false",
    TooComplex = "too_complex",
    Unsure = "unsure",
}

/// What describes a value and judges none.
const ANNOTATIONS: [&str; 15] = [
    "$defs",
    "definitions",
    "$anchor",
    "$comment",
    "title",
    "description",
    "default",
    "examples",
    "deprecated",
    "readOnly",
    "writeOnly",
    "format",
    "contentEncoding",
    "contentMediaType",
    "contentSchema",
];

impl Keyword {
    pub(super) fn find(name: &str) -> Option<Self> {
        KEYWORDS.iter().find(|(_, text)| *text == name).map(|(keyword, _)| *keyword)
    }

    pub(super) fn text(self) -> &'static str {
        KEYWORDS[self as usize].1
    }

    /// Whether it ends the whole check: no other branch of the schema can be asked instead.
    pub(super) const fn is_final(self) -> bool {
        matches!(self, Self::TooComplex | Self::Unsure)
    }
}

pub(super) fn is_annotation(name: &str) -> bool {
    ANNOTATIONS.contains(&name) || name.starts_with("x-")
}
