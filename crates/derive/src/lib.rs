//! `#[derive(Table)]` declares the keys of a mapping of the config.
//!
//! A struct is a mapping. A field is a key with the name of the field. The type of the field says
//! how the value is read, and the doc comment of the field is the meaning in the reference. An enum
//! with `one` is a choice of keys, exactly one of which must be present. The derive makes the code
//! that reads the keys, and the table of keys (`KEYS`). The reader, the overlays, the schema and
//! the reference use this table.
//!
//! `#[table(…)]`
//! - `settle = T`: `fn settle(self, reader, fields) -> Option<T>` checks and completes the values
//!   that were read. Without `settle` the struct itself is the value.
//! - `short = "KEY"`: if the value is not a mapping, it is read as the value of this key.
//! - `shared = "NAME"`: several keys use the table. The schema has the table once, by this name.
//! - `one = "NOUN"`: makes an enum a choice of keys. The error for a missing key uses the noun.
//! - `default`: implements `Default` with the defaults of the keys.
//! - `differing`: makes `fn differing(&self, other) -> Vec<&'static str>`, which returns the names
//!   of the keys whose values differ.
//!
//! `#[key(…)]`
//! - `form = TYPE`: the type that reads the value, in place of the field's type.
//! - `name = "KEY"`: the key, if it differs from the name of the field.
//! - `default = "TEXT"`: the default as text in a config. For an `Option` or a `Vec`, the text is
//!   only for the reference: without the key, an `Option` is `None`, and a `Vec` is empty.
//! - `value = EXPR`: the default as an expression, if it cannot be parsed from a text.
//! - `required = "HELP"`: a missing key is an error with this help.
//! - `merge = RULE`: the `Merge` by which an overlay changes the value.
//! - `exclusive`: the keys with this mark exclude each other, like the keys of an enum.
//! - `flatten`: the keys of the field's table belong to this mapping.
//! - `skip`: the field is not a key. `uncompared`: `differing` ignores the key.

#![forbid(unsafe_code)]

use proc_macro::TokenStream;
use proc_macro2::TokenStream as Tokens;
use quote::quote;
use syn::{
    Attribute, Data, DeriveInput, Error, Expr, Fields, GenericArgument, Ident, Lit, LitStr, Meta,
    PathArguments, Result, Type, parse_macro_input,
};

/// Declares the keys of a mapping of the config.
#[proc_macro_derive(Table, attributes(table, key))]
pub fn table(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    expand(&input).unwrap_or_else(|error| error.to_compile_error()).into()
}

/// For an enum whose variants have no values: makes the constant `ALL` with the variants, the
/// constant `NAMES` with their names, and the function `name`. The names are in snake case, for
/// JSON and metrics. With `#[named(kebab)]` or `#[named(upper)]` they are in kebab case or in
/// capitals, for a config.
#[proc_macro_derive(Named, attributes(named))]
pub fn named(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    names(&input).unwrap_or_else(|error| error.to_compile_error()).into()
}

fn names(input: &DeriveInput) -> Result<Tokens> {
    let DeriveInput { ident, attrs, data, .. } = input;
    let Data::Enum(data) = data else {
        return Err(Error::new_spanned(ident, "only an enum has names"));
    };
    let mut written: fn(String) -> String = |snake| snake;
    for attribute in attrs.iter().filter(|attribute| attribute.path().is_ident("named")) {
        attribute.parse_nested_meta(|meta| {
            written = match meta.path.require_ident()?.to_string().as_str() {
                "kebab" => |snake| snake.replace('_', "-"),
                "upper" => |snake| snake.to_ascii_uppercase(),
                _ => return Err(meta.error("no form of a name")),
            };
            Ok(())
        })?;
    }
    let variants: Vec<_> = data.variants.iter().map(|variant| &variant.ident).collect();
    let names: Vec<_> =
        variants.iter().map(|variant| written(snake_case(&variant.to_string()))).collect();
    let count = variants.len();
    Ok(quote! {
        impl #ident {
            pub const ALL: [Self; #count] = [#(Self::#variants),*];
            pub const NAMES: [&'static str; #count] = [#(#names),*];

            pub fn name(self) -> &'static str {
                match self { #(Self::#variants => #names),* }
            }
        }
    })
}

/// `#[table(…)]`
#[derive(Default)]
struct TableOptions {
    settle: Option<Type>,
    default: bool,
    differing: bool,
    short: Option<LitStr>,
    shared: Option<LitStr>,
    one: Option<LitStr>,
}

/// A key: a field of a struct, or a variant of an enum.
struct KeyField {
    ident: Ident,
    name: String,
    form: Type,
    meaning: String,
    /// The value of the field if the key is missing.
    absent: Tokens,
    default: Option<LitStr>,
    required: Option<LitStr>,
    merge: Option<Expr>,
    exclusive: bool,
    flatten: bool,
    skip: bool,
    uncompared: bool,
    /// For a variant: whether it has a value in it.
    holds: bool,
}

fn expand(input: &DeriveInput) -> Result<Tokens> {
    let options = options(&input.attrs)?;
    let keys: Vec<KeyField> = match &input.data {
        Data::Struct(data) => {
            let key = |field: &syn::Field| {
                let ident = field.ident.clone();
                let ident = ident.ok_or_else(|| Error::new_spanned(field, "a key needs a name"))?;
                key(ident, Some(&field.ty), &field.attrs)
            };
            data.fields.iter().map(key).collect::<Result<_>>()?
        }
        Data::Enum(data) => {
            let key = |variant: &syn::Variant| {
                let value = match &variant.fields {
                    Fields::Unnamed(fields) => fields.unnamed.first().map(|field| &field.ty),
                    _ => None,
                };
                let read = key(variant.ident.clone(), value, &variant.attrs)?;
                Ok(KeyField { exclusive: true, ..read })
            };
            data.variants.iter().map(key).collect::<Result<_>>()?
        }
        Data::Union(_) => return Err(Error::new_spanned(input, "a union has no keys")),
    };
    let name = &input.ident;
    let rows = keys.iter().filter(|key| !key.skip && !key.flatten).map(row);
    let flat = keys.iter().filter(|key| key.flatten).map(|key| &key.form);
    let short = optional(&options.short);
    let read = match &options.one {
        Some(noun) => read_one(&keys, noun),
        None => read_all(&keys),
    };
    let shape = shape(&options, &keys);
    let (out, settled) = match &options.settle {
        Some(out) => (quote!(#out), quote!(read.settle(reader, &fields))),
        None => (quote!(Self), quote!(Some(read))),
    };
    let title = name.to_string();
    let more = more(name, &options, &keys);
    Ok(quote! {
        const _: () = {
            use crate::keys::key::{At, Form, Key, Keys, Leaf, Merge, Shape, Table};
            use crate::keys::reader::{Fields, Reader};

            impl Table for #name {
                const KEYS: &'static Keys = &Keys {
                    name: #title,
                    own: &[#(#rows),*],
                    flat: &[#(<#flat as Table>::KEYS),*],
                    short: #short,
                };

                #[allow(unused_variables)]
                fn read_keys(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<Self> {
                    #read
                }
            }

            impl Form for #name {
                type Out = #out;
                const SHAPE: Shape = #shape;

                fn read(
                    reader: &mut Reader<'_>,
                    at: &At<'_>,
                    node: &crate::language::yaml::node::Node,
                ) -> Option<Self::Out> {
                    let fields = reader.table(node, at, <Self as Table>::KEYS)?;
                    let read = <Self as Table>::read_keys(reader, &fields)?;
                    #settled
                }
            }

            #more
        };
    })
}

fn row(key: &KeyField) -> Tokens {
    let KeyField { name, form, meaning, exclusive, .. } = key;
    let default = match &key.required {
        Some(_) => quote!(Some("required")),
        None => optional(&key.default),
    };
    let merge = match &key.merge {
        Some(rule) => quote!(Merge::#rule),
        None => quote!(Merge::ByKind),
    };
    quote!(Key::new(#name, <#form as Form>::SHAPE, #meaning, #default, #merge, #exclusive))
}

fn shape(options: &TableOptions, keys: &[KeyField]) -> Tokens {
    let table = match &options.shared {
        Some(name) => quote!(Shape::Named(#name, <Self as Table>::KEYS)),
        None => quote!(Shape::Table(<Self as Table>::KEYS)),
    };
    let is_short =
        |key: &&KeyField| options.short.as_ref().is_some_and(|it| it.value() == key.name);
    match keys.iter().find(is_short) {
        Some(KeyField { form, .. }) => quote!(Shape::Either(&[<#form as Form>::SHAPE, #table])),
        None => table,
    }
}

/// Makes code that reads every key, so that an error in one key does not hide an error in another.
fn read_all(keys: &[KeyField]) -> Tokens {
    let reads = keys.iter().filter(|key| !key.skip).map(|key| {
        let KeyField { ident, name, form, .. } = key;
        let value = match &key.required {
            _ if key.flatten => quote!(<#form as Table>::read_keys(reader, fields)),
            Some(help) => quote!(reader.required::<#form>(fields, #name, #help)),
            None => quote!(reader.key::<#form>(fields, #name)),
        };
        quote!(let #ident = #value;)
    });
    let fields = keys.iter().map(|key| {
        let KeyField { ident, absent, .. } = key;
        match (key.skip, key.flatten || key.required.is_some()) {
            (true, _) => quote!(#ident: #absent),
            (_, true) => quote!(#ident: #ident?),
            _ => quote!(#ident: match #ident { Some(value) => value.into(), None => #absent }),
        }
    });
    quote!(#(#reads)* Some(Self { #(#fields),* }))
}

/// Makes code for a choice of keys: the code reads the key that is present.
fn read_one(keys: &[KeyField], noun: &LitStr) -> Tokens {
    let arms = keys.iter().map(|key| {
        let KeyField { ident, name, form, holds, .. } = key;
        let make = if *holds { quote!(Self::#ident) } else { quote!(|_| Self::#ident) };
        quote!(#name => <#form as Form>::read(reader, &fields.inner(#name), node).map(#make))
    });
    quote! {
        let (key, node) = reader.one_of(fields, <Self as Table>::KEYS, #noun)?;
        match key {
            #(#arms,)*
            _ => None,
        }
    }
}

/// Makes the functions that only some tables have: `key`, `default` and `differing`.
fn more(table: &Ident, options: &TableOptions, keys: &[KeyField]) -> Tokens {
    let mut out = Tokens::new();
    if options.one.is_some() {
        let arms =
            keys.iter().map(|KeyField { ident, name, .. }| quote!(Self::#ident { .. } => #name));
        out.extend(quote! {
            impl #table {
                /// The key of this variant.
                #[allow(dead_code)]
                pub fn key(&self) -> &'static str {
                    match self { #(#arms),* }
                }
            }
        });
    }
    if options.default {
        let fields = keys.iter().map(|KeyField { ident, absent, .. }| quote!(#ident: #absent));
        out.extend(quote! {
            impl Default for #table {
                fn default() -> Self {
                    Self { #(#fields),* }
                }
            }
        });
    }
    if options.differing {
        let compared = keys.iter().filter(|key| !key.skip && !key.uncompared);
        let keys = compared.map(
            |KeyField { ident, name, .. }| quote!(if self.#ident != other.#ident { keys.push(#name); }),
        );
        out.extend(quote! {
            impl #table {
                /// The keys whose values differ, in the order of the reference.
                pub fn differing(&self, other: &Self) -> Vec<&'static str> {
                    let mut keys = Vec::new();
                    #(#keys)*
                    keys
                }
            }
        });
    }
    out
}

fn options(attributes: &[Attribute]) -> Result<TableOptions> {
    let mut options = TableOptions::default();
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("table")) {
        attribute.parse_nested_meta(|meta| {
            let name = meta.path.require_ident()?.to_string();
            match name.as_str() {
                "settle" => options.settle = Some(meta.value()?.parse()?),
                "default" => options.default = true,
                "differing" => options.differing = true,
                "short" => options.short = Some(meta.value()?.parse()?),
                "shared" => options.shared = Some(meta.value()?.parse()?),
                "one" => options.one = Some(meta.value()?.parse()?),
                _ => return Err(meta.error("no option of a table")),
            }
            Ok(())
        })?;
    }
    Ok(options)
}

fn key(ident: Ident, ty: Option<&Type>, attributes: &[Attribute]) -> Result<KeyField> {
    let unit: Type = syn::parse_quote!(());
    let (own, absent) = match ty.map(|ty| (ty, generic(ty))) {
        Some((_, Some(("Option", inner)))) => (inner.clone(), Some(quote!(None))),
        Some((_, Some(("Vec", inner)))) => {
            (syn::parse_quote!(crate::keys::key::List<#inner>), Some(quote!(Vec::new())))
        }
        Some((ty, _)) => (ty.clone(), None),
        None => (unit, None),
    };
    let mut key = KeyField {
        name: snake_case(&ident.to_string()),
        ident,
        form: own,
        meaning: meaning(attributes),
        absent: Tokens::new(),
        default: None,
        required: None,
        merge: None,
        exclusive: false,
        flatten: false,
        skip: false,
        uncompared: false,
        holds: ty.is_some(),
    };
    let mut value: Option<Expr> = None;
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("key")) {
        attribute.parse_nested_meta(|meta| {
            let name = meta.path.require_ident()?.to_string();
            match name.as_str() {
                "form" => key.form = meta.value()?.parse()?,
                "name" => key.name = meta.value()?.parse::<LitStr>()?.value(),
                "default" => key.default = Some(meta.value()?.parse()?),
                "value" => value = Some(meta.value()?.parse()?),
                "required" => key.required = Some(meta.value()?.parse()?),
                "merge" => key.merge = Some(meta.value()?.parse()?),
                "exclusive" => key.exclusive = true,
                "flatten" => key.flatten = true,
                "skip" => key.skip = true,
                "uncompared" => key.uncompared = true,
                _ => return Err(meta.error("no option of a key")),
            }
            Ok(())
        })?;
    }
    let form = &key.form;
    key.absent = match (value, absent, &key.default) {
        (Some(value), ..) => quote!(#value),
        (_, Some(absent), _) => absent,
        (_, _, Some(text)) => quote!(<#form as Leaf>::from_default(#text)),
        _ => quote!(Default::default()),
    };
    Ok(key)
}

/// For `Option<T>` or `Vec<T>`: the text `Option` or `Vec`, and the type `T`. `None` for other
/// types.
fn generic(ty: &Type) -> Option<(&'static str, &Type)> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last()?;
    let name = ["Option", "Vec"].into_iter().find(|name| last.ident == name)?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
    match arguments.args.first()? {
        GenericArgument::Type(inner) => Some((name, inner)),
        _ => None,
    }
}

/// The text of the doc comment, in one line.
fn meaning(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter_map(|attribute| {
        let Meta::NameValue(doc) = &attribute.meta else { return None };
        let Expr::Lit(text) = &doc.value else { return None };
        let Lit::Str(text) = &text.lit else { return None };
        doc.path.is_ident("doc").then(|| text.value().trim().to_owned())
    });
    lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

fn snake_case(name: &str) -> String {
    let mut out = String::new();
    for (at, c) in name.trim_start_matches("r#").char_indices() {
        if c.is_ascii_uppercase() && at > 0 {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

fn optional(text: &Option<LitStr>) -> Tokens {
    match text {
        Some(text) => quote!(Some(#text)),
        None => quote!(None),
    }
}
