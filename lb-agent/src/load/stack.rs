//! How deep the stack of each program may become, as the strictest kernel counts it: a frame for each
//! call on the way, each rounded up to 32 bytes (`check_max_stack_depth` of Linux 6.1; later ones
//! round to 16 where they compile programs). Newer kernels than the strictest load what that refuses,
//! so their tests say nothing of it.

use std::collections::{BTreeMap, BTreeSet};

use object::{
    Endianness, Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget, SectionKind,
    SymbolIndex, SymbolKind,
    read::elf::{ElfFile64, ElfSymbol64},
};

use super::OBJECT;

/// `MAX_BPF_STACK`
const MOST: u64 = 512;
/// The strictest rounding.
const UNIT: u64 = 32;

/// Call of another function, and the register that says that it is none of the kernel's.
const CALL: u8 = 0x85;
const OF_THE_OBJECT: u8 = 1;
/// Load of an address: of a function, for `bpf_loop`.
const LOAD_ADDRESS: u8 = 0x18;
/// `r1 += imm` and its kind.
const ADD_NUMBER: u8 = 0x07;
/// Class of an instruction: store of a number, of a register, load.
const STORES: [u8; 2] = [0x02, 0x03];
const LOADS: u8 = 0x01;
/// Memory, in the mode of an instruction.
const MEMORY: u8 = 0x60;
/// Atomic operations likewise.
const ATOMIC: u8 = 0xc0;
/// The frame's end.
const R10: u8 = 10;

/// A section's index and an offset in it.
type Place = (usize, u64);

/// A function of the object.
struct Function {
    name: String,
    frame: u64,
    calls: BTreeSet<Place>,
}

/// An instruction as it stands in the object.
struct Instruction<'a>(&'a [u8]);

impl Instruction<'_> {
    fn code(&self) -> u8 {
        self.0[0]
    }

    fn destination(&self) -> u8 {
        self.0[1] & 0xf
    }

    fn source(&self) -> u8 {
        self.0[1] >> 4
    }

    fn offset(&self) -> i16 {
        i16::from_le_bytes([self.0[2], self.0[3]])
    }

    fn number(&self) -> i32 {
        i32::from_le_bytes([self.0[4], self.0[5], self.0[6], self.0[7]])
    }

    /// How far below the frame's end it reaches. An address on the stack is made by a subtraction; one
    /// of something else counts as well, if it is as small.
    fn reach(&self) -> u64 {
        let (class, mode) = (self.code() & 0x07, self.code() & 0xe0);
        let is_memory = mode == MEMORY || mode == ATOMIC;
        let is_stored = STORES.contains(&class) && is_memory && self.destination() == R10;
        let is_loaded = class == LOADS && is_memory && self.source() == R10;
        let down = if is_stored || is_loaded {
            i32::from(self.offset())
        } else if self.code() == ADD_NUMBER {
            self.number()
        } else {
            0
        };
        let down = u64::try_from(-i64::from(down)).unwrap_or(0);
        if down <= MOST { down } else { 0 }
    }
}

/// Every function, by its place.
fn functions() -> BTreeMap<Place, Function> {
    let object = ElfFile64::<Endianness>::parse(OBJECT).unwrap();
    let symbols = object.symbols();
    let symbols = symbols.filter(|s| s.kind() == SymbolKind::Text && s.size() > 0);
    let of = |symbol: ElfSymbol64<'_, '_, Endianness>| {
        let index = symbol.section_index().unwrap();
        let section = object.section_by_index(index).unwrap();
        let relocations: BTreeMap<u64, SymbolIndex> = section
            .relocations()
            .filter_map(|(at, relocation)| match relocation.target() {
                RelocationTarget::Symbol(of) => Some((at, of)),
                _ => None,
            })
            .collect();
        let (from, size) = (symbol.address(), symbol.size());
        let code = section.data_range(from, size).unwrap().unwrap();
        let code = (from..).step_by(8).zip(code.chunks_exact(8));
        let code: Vec<_> = code.map(|(at, bytes)| (at, Instruction(bytes))).collect();
        let calls = code.iter().filter_map(|(at, instruction)| {
            let (base, begin) = match relocations.get(at) {
                Some(target) => {
                    let target = object.symbol_by_index(*target).unwrap();
                    (target.section_index()?, target.address())
                }
                // In the same section, from where it stands on.
                None => (index, *at),
            };
            let by = match instruction.code() {
                // In instructions behind the next one.
                CALL if instruction.source() == OF_THE_OBJECT => {
                    (i64::from(instruction.number()) + 1) * 8
                }
                LOAD_ADDRESS if relocations.contains_key(at) => i64::from(instruction.number()),
                _ => return None,
            };
            let is_code = object.section_by_index(base).unwrap().kind() == SectionKind::Text;
            is_code.then(|| (base.0, begin.checked_add_signed(by).unwrap()))
        });
        let function = Function {
            name: symbol.name().unwrap().to_owned(),
            frame: code.iter().map(|(_, i)| i.reach()).max().unwrap_or(0),
            calls: calls.collect(),
        };
        ((index.0, from), function)
    };
    symbols.map(of).collect()
}

/// The deepest way from a function on, by names.
fn deepest(functions: &BTreeMap<Place, Function>, at: Place) -> (u64, Vec<&str>) {
    let function = &functions[&at];
    let own = function.frame.max(1).next_multiple_of(UNIT);
    let ways = function.calls.iter().map(|to| deepest(functions, *to));
    let (below, mut way) = ways.max_by_key(|(depth, _)| *depth).unwrap_or_default();
    way.insert(0, &function.name);
    (own + below, way)
}

#[test]
fn the_strictest_kernel_has_stack_for_every_program() {
    let functions = functions();
    let called: BTreeSet<Place> = functions.values().flat_map(|f| f.calls.clone()).collect();
    assert!(called.iter().all(|place| functions.contains_key(place)));
    let programs: Vec<Place> = functions
        .keys()
        .copied()
        .filter(|place| !called.contains(place))
        .collect();
    assert!(programs.len() > 10 && called.len() > 10);
    for program in programs {
        let (depth, way) = deepest(&functions, program);
        assert!(depth <= MOST, "{depth} bytes: {way:#?}");
    }
}
