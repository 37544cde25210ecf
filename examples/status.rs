//! What `f3skeys status` shows of a simulated node: `status SCENE [text|colour|json|prometheus]`
//!
//! The pictures and examples of the documentation are made of it.

#[path = "../tests/scenes/mod.rs"]
mod scenes;
#[path = "../tests/sim/mod.rs"]
mod sim;

use f3skeys::ink::Ink;
use f3skeys::status::{Status, status};
use std::error::Error;
use std::ffi::OsStr;

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (name, form) = match words.as_slice() {
        [name] => (name, "text"),
        [name, form] => (name, form.as_str()),
        _ => return Err("usage: status SCENE [text|colour|json|prometheus]".into()),
    };
    let sim = scenes::scene(name)
        .ok_or_else(|| format!("no scene {name}; there are {}", scenes::SCENES.join(", ")))?;
    let told = sim.verb(|node| status(node, &scenes::config()));
    print!("{}", shown(&told, form)?);
    std::fs::remove_dir_all(&sim.directory)?;
    Ok(())
}

fn shown(told: &Status, form: &str) -> Result<String, Box<dyn Error>> {
    Ok(match form {
        "text" => told.text(Ink::NONE),
        "colour" => told.text(Ink::new(true, None, Some(OsStr::new("xterm")))),
        "json" => serde_json::to_string_pretty(told)? + "\n",
        "prometheus" => told.prometheus(),
        other => return Err(format!("no form {other}").into()),
    })
}
