//! What a serde type reads from the wire, what a `.msg` file says lies there, and a message
//! with a different value in every field.

use std::collections::BTreeMap;

use serde::de::{self, DeserializeOwned, DeserializeSeed, SeqAccess, Visitor, value::Error};
use serde_json::{Value, json};

/// What lies on the wire.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// `uint8`, `float64`, `string`, …
    Plain(String),
    /// `T[]`.
    Sequence(Box<Kind>),
    /// `T[n]`.
    Array(usize, Box<Kind>),
    /// Fields in their order.
    Struct(Vec<(String, Kind)>),
}

/// A message that was read, with what it asked for.
pub struct Filled<T> {
    /// The message.
    pub message: T,
    /// What it reads.
    pub kind: Kind,
    /// Every single value that it was given, in the order of the wire.
    pub values: Vec<Value>,
}

/// Lets `T` read itself from a source that gives whatever is asked for, never the same twice in
/// a row.
pub fn fill<T: DeserializeOwned>() -> Filled<T> {
    let (mut kind, mut values) = (None, Vec::new());
    let message = T::deserialize(Giver { kind: &mut kind, values: &mut values });
    Filled {
        message: message.expect("a message type"),
        kind: kind.expect("something was read"),
        values,
    }
}

struct Giver<'a> {
    kind: &'a mut Option<Kind>,
    values: &'a mut Vec<Value>,
}

impl Giver<'_> {
    fn plain(&mut self, name: &str) {
        *self.kind = Some(Kind::Plain(name.to_owned()));
    }

    fn next(&self) -> u8 {
        (self.values.len() * 7 % 120 + 1) as u8
    }
}

/// Gives elements one by one and keeps the kind of each.
struct Elements<'a> {
    left: usize,
    kinds: &'a mut Vec<Kind>,
    values: &'a mut Vec<Value>,
}

impl<'de> SeqAccess<'de> for Elements<'_> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Error> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let mut kind = None;
        let value = seed.deserialize(Giver { kind: &mut kind, values: self.values })?;
        self.kinds.push(kind.expect("an element reads something"));
        Ok(Some(value))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

macro_rules! numbers {
    ($($method:ident $visit:ident $type:ty, $name:literal;)*) => {$(
        fn $method<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Error> {
            self.plain($name);
            let value = <$type>::from(self.next());
            self.values.push(json!(value));
            visitor.$visit(value)
        }
    )*};
}

macro_rules! refused {
    ($($method:ident($($argument:ident: $type:ty),*);)*) => {$(
        fn $method<V: Visitor<'de>>(self, $($argument: $type,)* _: V) -> Result<V::Value, Error> {
            Err(de::Error::custom(concat!("no message has what needs ", stringify!($method))))
        }
    )*};
}

impl<'de> de::Deserializer<'de> for Giver<'_> {
    type Error = Error;

    numbers! {
        deserialize_i16 visit_i16 i16, "int16";
        deserialize_i32 visit_i32 i32, "int32";
        deserialize_i64 visit_i64 i64, "int64";
        deserialize_u8 visit_u8 u8, "uint8";
        deserialize_u16 visit_u16 u16, "uint16";
        deserialize_u32 visit_u32 u32, "uint32";
        deserialize_u64 visit_u64 u64, "uint64";
        deserialize_f32 visit_f32 f32, "float32";
        deserialize_f64 visit_f64 f64, "float64";
    }

    refused! {
        deserialize_any();
        deserialize_i8();
        deserialize_char();
        deserialize_str();
        deserialize_bytes();
        deserialize_option();
        deserialize_unit();
        deserialize_unit_struct(_name: &'static str);
        deserialize_newtype_struct(_name: &'static str);
        deserialize_tuple_struct(_name: &'static str, _len: usize);
        deserialize_map();
        deserialize_enum(_name: &'static str, _variants: &'static [&'static str]);
        deserialize_identifier();
        deserialize_ignored_any();
    }

    fn deserialize_bool<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Error> {
        self.plain("bool");
        self.values.push(json!(true));
        visitor.visit_bool(true)
    }

    fn deserialize_string<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Error> {
        self.plain("string");
        let text = "ü".repeat(usize::from(self.next() % 5)) + "x";
        self.values.push(json!(text));
        visitor.visit_string(text)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        *self.kind = Some(Kind::Sequence(Box::new(Kind::Plain("uint8".to_owned()))));
        let bytes = vec![self.next(), 255, 0];
        self.values.extend(bytes.iter().map(|byte| json!(byte)));
        visitor.visit_byte_buf(bytes)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let mut kinds = Vec::new();
        let elements = Elements { left: 3, kinds: &mut kinds, values: self.values };
        let value = visitor.visit_seq(elements)?;
        *self.kind = Some(Kind::Sequence(Box::new(kinds.remove(0))));
        Ok(value)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Error> {
        let mut kinds = Vec::new();
        let elements = Elements { left: len, kinds: &mut kinds, values: self.values };
        let value = visitor.visit_seq(elements)?;
        assert!(kinds.iter().all(|kind| *kind == kinds[0]), "an array of one type");
        *self.kind = Some(Kind::Array(len, Box::new(kinds.remove(0))));
        Ok(value)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let mut kinds = Vec::new();
        let elements = Elements { left: fields.len(), kinds: &mut kinds, values: self.values };
        let value = visitor.visit_seq(elements)?;
        let fields = fields.iter().map(|field| (*field).to_owned());
        *self.kind = Some(Kind::Struct(fields.zip(kinds).collect()));
        Ok(value)
    }
}

/// A definition as a `.msg` file has it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Definition {
    /// Type as written, and name.
    pub fields: Vec<(String, String)>,
    /// Name and value.
    pub constants: Vec<(String, i64)>,
}

/// Definitions by full name, `sensor_msgs/msg/Image`.
pub type Definitions = BTreeMap<String, Definition>;

/// Reads the text of a `.msg` file, or one half of a `.srv` file.
pub fn parse(text: &str) -> Definition {
    let mut definition = Definition::default();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or("").trim();
        let Some((of, rest)) = line.split_once(char::is_whitespace) else { continue };
        match rest.split_once('=') {
            Some((name, value)) => {
                let value = value.trim().parse().expect("an integer constant");
                definition.constants.push((name.trim().to_owned(), value));
            }
            None => definition.fields.push((of.to_owned(), rest.trim().to_owned())),
        }
    }
    definition
}

/// What a definition puts on the wire.
pub fn wire(all: &Definitions, name: &str) -> Kind {
    let definition = all.get(name).unwrap_or_else(|| panic!("{name} is not defined"));
    if definition.fields.is_empty() {
        // What the generator of ROS puts into an empty structure.
        let member = "structure_needs_at_least_one_member".to_owned();
        return Kind::Struct(vec![(member, Kind::Plain("uint8".to_owned()))]);
    }
    let package = name.split('/').next().unwrap_or("");
    let field = |(of, name): &(String, String)| (name.clone(), field_kind(all, package, of));
    Kind::Struct(definition.fields.iter().map(field).collect())
}

fn field_kind(all: &Definitions, package: &str, of: &str) -> Kind {
    if let Some((element, size)) = of.strip_suffix(']').and_then(|of| of.split_once('[')) {
        let element = Box::new(field_kind(all, package, element));
        return match size.parse() {
            Ok(size) => Kind::Array(size, element),
            Err(_) => Kind::Sequence(element),
        };
    }
    match of {
        "byte" | "char" => Kind::Plain("uint8".to_owned()),
        "bool" | "int8" | "int16" | "int32" | "int64" | "uint8" | "uint16" | "uint32"
        | "uint64" | "float32" | "float64" | "string" => Kind::Plain(of.to_owned()),
        _ => match of.split_once('/') {
            Some((package, name)) => {
                let name = name.strip_prefix("msg/").unwrap_or(name);
                wire(all, &format!("{package}/msg/{name}"))
            }
            None => wire(all, &format!("{package}/msg/{of}")),
        },
    }
}
