//! Writes a key store of format 1 from raw key files: `store DIR OWNER:NAME=FILE...`
//!
//! For trying f3skeys out. It copies; it makes no key and changes none.

use f3skeys::key::{KEY_LEN, Key};
use f3skeys::names::KeyName;
use f3skeys::os;
use f3skeys::sorted::Map;
use f3skeys::store::layout;
use f3skeys::store::state::{FORMAT, Generation, Standing, State};
use std::error::Error;
use std::fs::{DirBuilder, File};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let Some((directory, pairs)) = words.split_first() else {
        return Err("usage: store DIR OWNER:NAME=FILE...".into());
    };
    let top = Path::new(directory);
    let mut keys = Map::new();
    for pair in pairs {
        let (name, file) = pair.split_once('=').ok_or("write OWNER:NAME=FILE")?;
        let name: KeyName = name.parse()?;
        let generation = add(top, &name, Path::new(file))?;
        keys.insert(name, vec![generation]);
    }
    // Two stores of one identity would count as one copy.
    let mut id = [0; 16];
    os::random(&mut id)?;
    let state = State {
        format: FORMAT,
        store: id.iter().map(|byte| format!("{byte:02x}")).collect(),
        keys,
    };
    write_new(&top.join(layout::STATE), &state.to_bytes(), 0o600)
}

fn add(top: &Path, name: &KeyName, file: &Path) -> Result<Generation, Box<dyn Error>> {
    let mut source = File::open(file)?;
    let key = Key::take(|place| source.read_exact(place))?;
    if source.read(&mut [0])? != 0 {
        return Err(format!("{} is longer than {KEY_LEN} bytes", file.display()).into());
    }
    let own = top.join(layout::DIRECTORY).join(name.as_str());
    DirBuilder::new().recursive(true).mode(0o700).create(own)?;
    let fingerprint = key.fingerprint();
    for path in [
        layout::top_path(name),
        layout::generation_path(name, 1, fingerprint),
    ] {
        write_new(&top.join(path), key.expose(), 0o400)?;
    }
    Ok(Generation {
        generation: 1,
        fingerprint,
        state: Standing::Current,
    })
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Box<dyn Error>> {
    let mut file = File::options()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    file.write_all(bytes)?;
    Ok(file.sync_all()?)
}
