//! The programs around what is measured: one that makes packets, one that counts them, sends them
//! back or lets them pass, and the smallest ones there are.

use std::{
    net::Ipv4Addr,
    os::fd::{AsRawFd as _, OwnedFd},
};

use anyhow::{Context as _, Result};
use lb_sys::{Map, MapInfo};

use super::asm::{Asm, If, Jump, Op, R, Size};

/// `XDP_DROP`
const DROP: i32 = 1;
/// `XDP_TX`
const TX: i32 = 3;
/// `ETH_P_IP`, as a frame's bytes load.
const IP: i32 = 0x0008;
const UDP: u8 = 17;
/// Ethernet, IPv4 without options, UDP.
const HEADERS: usize = 42;
/// Where the key of a lookup stands on the stack.
const KEY: i16 = -4;
/// Services of a row, a node port each: the lowest six bits of a flow's number say which.
pub(super) const SERVICES: u16 = 64;
/// The port of a flow's source: this and up, by the next ten bits.
const FIRST_SPORT: i32 = 1024;
/// Its address: this and up, by the upper half.
pub(super) const FIRST_SOURCE: Ipv4Addr = Ipv4Addr::new(198, 19, 0, 0);
/// Where all sources are.
pub(super) const SOURCES: &str = "198.19.0.0/16";

/// What a generator sends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    /// Out by this device of the namespace in which it runs.
    pub(super) ifindex: u32,
    pub(super) smac: [u8; 6],
    pub(super) dmac: [u8; 6],
    pub(super) dst: Ipv4Addr,
    /// Of the first service.
    pub(super) first_port: u16,
    /// The bits in which flows differ, in one piece.
    pub(super) mask: u32,
    /// Bytes of a frame, without the sum of the wire.
    pub(super) length: usize,
}

/// A frame as a generator finds it: headers of no meaning, the payload as it stays.
pub(crate) fn template(length: usize) -> Vec<u8> {
    (0..length)
        .map(|at| u8::try_from(at % 251).unwrap_or_default())
        .collect()
}

/// An array of one value that a program and we share.
pub(super) struct Cell {
    fd: OwnedFd,
    map: Map<u32, [u64; 2]>,
}

impl Cell {
    /// Zeros.
    pub(super) fn new() -> Result<Self> {
        /// `BPF_MAP_TYPE_ARRAY`
        const ARRAY: u32 = 2;
        let fd = lb_sys::create_map(MapInfo {
            kind: ARRAY,
            id: 0,
            key_size: 4,
            value_size: 16,
            max_entries: 1,
            flags: 0,
        })
        .context("make an array")?;
        let map = Map::new(fd.try_clone().context("share an array")?).context("open an array")?;
        Ok(Self { fd, map })
    }

    fn get(&self) -> Result<[u64; 2]> {
        let value = self.map.get(&0).context("read an array")?;
        value.context("an array without its element")
    }
}

/// What a sink does with the packets that it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// `XDP_DROP`
    Drop = 1,
    /// `XDP_PASS`: to be recorded.
    Pass = 2,
    /// Back to their sender.
    Reflect = 3,
}

/// Where packets end.
pub(super) struct Sink {
    cell: Cell,
    pub(super) program: OwnedFd,
}

impl Sink {
    /// For the device of this number in its namespace.
    pub(super) fn new(ifindex: u32) -> Result<Self> {
        let cell = Cell::new()?;
        let program = lb_sys::load_xdp(&sink(cell.fd.as_raw_fd(), ifindex));
        let program = program.context("load the program that counts packets")?;
        Ok(Self { cell, program })
    }

    /// Counts from zero from here on.
    pub(super) fn reset(&self, then: Then) -> Result<()> {
        let set = self.cell.map.set(&0, &[0, then as u64]);
        set.context("tell a sink what to do")
    }

    /// UDP packets since then.
    pub(super) fn count(&self) -> Result<u64> {
        Ok(self.cell.get()?[0])
    }
}

/// The program, and what it counts its packets by.
pub(super) fn generator(shape: &Shape) -> Result<(OwnedFd, Cell)> {
    let cell = Cell::new()?;
    let program = lb_sys::load_xdp(&generate(shape, cell.fd.as_raw_fd()));
    Ok((
        program.context("load the program that makes packets")?,
        cell,
    ))
}

/// `return XDP_TX`
pub(super) fn smallest_tx() -> Result<OwnedFd> {
    let mut asm = Asm::default();
    asm.exit(TX);
    lb_sys::load_xdp(&asm.code()).context("load the smallest XDP_TX program")
}

/// `return bpf_redirect(ifindex, 0)`
pub(super) fn smallest_redirect(ifindex: u32) -> Result<OwnedFd> {
    let mut asm = Asm::default();
    asm.exit_redirect(ifindex);
    lb_sys::load_xdp(&asm.code()).context("load the smallest XDP_REDIRECT program")
}

/// The whole header anew each time: frames come back as the last one who had them left them.
fn generate(shape: &Shape, cell: i32) -> Vec<u64> {
    let (data, flow, sum, tmp) = (R(7), R(8), R(9), R(3));
    let header = header(shape);
    let mut asm = Asm::default();
    asm.load(Size::Word, data, R(1), 0);
    asm.load(Size::Word, R(2), R(1), 4);
    asm.reg(Op::Mov, tmp, data);
    asm.imm(Op::Add, tmp, fit(HEADERS));
    let short = asm.jump_reg(If::Above, tmp, R(2));
    asm.map_value(R(1), cell);
    asm.load(Size::Double, flow, R(1), 0);
    asm.reg(Op::Mov, R(2), flow);
    asm.imm(Op::Add, R(2), 1);
    asm.store(Size::Double, R(1), 0, R(2));
    // An odd factor leaves no number out and no neighbours together.
    asm.imm(Op::Mul, flow, 0x9e37_79b1_u32.cast_signed());
    // What the mask leaves changes with each packet, from its lowest bit on.
    let low = shape.mask.trailing_zeros() % 32;
    asm.imm(Op::Lsh, flow, 32 + low.cast_signed());
    asm.imm(Op::Rsh, flow, 32);
    if shape.mask != u32::MAX {
        asm.imm(Op::And, flow, shape.mask.cast_signed());
    }
    for (at, bytes) in (0..).step_by(2).zip(header.chunks(2)) {
        let value = u16::from_le_bytes([bytes[0], bytes[1]]);
        asm.store_imm(Size::Half, data, at, value.into());
    }

    asm.reg(Op::Mov, tmp, flow);
    asm.imm(Op::Rsh, tmp, 16);
    asm.add32(tmp, FIRST_SOURCE.to_bits());
    asm.network_order(tmp, 32);
    asm.store(Size::Word, data, 26, tmp);
    asm.reg(Op::Mov, sum, tmp);
    asm.imm(Op::And, sum, 0xffff);
    asm.imm(Op::Rsh, tmp, 16);
    asm.reg(Op::Add, sum, tmp);
    asm.reg(Op::Mov, tmp, sum);
    asm.imm(Op::Add, tmp, added(&header[14..34]));
    fold(&mut asm, tmp);
    asm.store(Size::Half, data, 24, tmp);

    for (at, shift, mask, first) in [
        (34, 6, 0x3ff, FIRST_SPORT),
        (36, 0, i32::from(SERVICES - 1), shape.first_port.into()),
    ] {
        asm.reg(Op::Mov, tmp, flow);
        asm.imm(Op::Rsh, tmp, shift);
        asm.imm(Op::And, tmp, mask);
        asm.imm(Op::Add, tmp, first);
        asm.network_order(tmp, 16);
        asm.store(Size::Half, data, at, tmp);
        asm.reg(Op::Add, sum, tmp);
    }
    asm.imm(Op::Add, sum, covered(shape, &header));
    fold(&mut asm, sum);
    let there = asm.jump_imm(If::NotEqual, sum, 0);
    asm.imm(Op::Mov, sum, 0xffff);
    asm.here([there]);
    asm.store(Size::Half, data, 40, sum);
    asm.exit_redirect(shape.ifindex);
    asm.here([short]);
    asm.exit(DROP);
    asm.code()
}

/// Everything but what a flow's number changes: that is zero, sums too.
fn header(shape: &Shape) -> [u8; HEADERS] {
    let length = |of: usize| u16::try_from(of).unwrap_or(u16::MAX).to_be_bytes();
    let mut header = [0; HEADERS];
    header[..6].copy_from_slice(&shape.dmac);
    header[6..12].copy_from_slice(&shape.smac);
    header[12] = 8;
    header[14] = 0x45;
    header[16..18].copy_from_slice(&length(shape.length - 14));
    // Not to be fragmented, 64 hops.
    header[20] = 0x40;
    header[22] = 64;
    header[23] = UDP;
    header[30..34].copy_from_slice(&shape.dst.octets());
    header[38..40].copy_from_slice(&length(shape.length - 34));
    header
}

/// What the sum of UDP covers of that: addresses, protocol, length, twice, and the payload.
fn covered(shape: &Shape, header: &[u8; HEADERS]) -> i32 {
    let mut bytes = header[30..34].to_vec();
    bytes.extend([0, UDP]);
    bytes.extend(&header[38..40]);
    bytes.extend(&header[34..]);
    bytes.extend(&template(shape.length)[HEADERS..]);
    added(&bytes)
}

/// The halves as they load, added and folded.
fn added(bytes: &[u8]) -> i32 {
    let sum: u32 = bytes
        .chunks(2)
        .map(|pair| {
            u32::from(u16::from_le_bytes([
                pair[0],
                pair.get(1).copied().unwrap_or(0),
            ]))
        })
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    ((folded & 0xffff) + (folded >> 16)).cast_signed()
}

/// To the sixteen bits of a checksum.
fn fold(asm: &mut Asm, sum: R) {
    for _ in 0..2 {
        asm.reg(Op::Mov, R(2), sum);
        asm.imm(Op::Rsh, R(2), 16);
        asm.imm(Op::And, sum, 0xffff);
        asm.reg(Op::Add, sum, R(2));
    }
    asm.imm(Op::Xor, sum, 0xffff);
}

/// Loads where the frame begins into `data`; jumps away from what is no whole UDP packet of IPv4.
fn unless_udp(asm: &mut Asm, data: R, a: R, b: R) -> [Jump; 3] {
    asm.load(Size::Word, data, R(1), 0);
    asm.load(Size::Word, a, R(1), 4);
    asm.reg(Op::Mov, b, data);
    asm.imm(Op::Add, b, fit(HEADERS));
    let short = asm.jump_reg(If::Above, b, a);
    asm.load(Size::Half, a, data, 12);
    let other = asm.jump_imm(If::NotEqual, a, IP);
    asm.load(Size::Byte, a, data, 23);
    let foreign = asm.jump_imm(If::NotEqual, a, UDP.into());
    [short, other, foreign]
}

fn sink(cell: i32, ifindex: u32) -> Vec<u64> {
    let (data, a, b) = (R(7), R(2), R(3));
    let mut asm = Asm::default();
    let [short, other, foreign] = unless_udp(&mut asm, data, a, b);
    asm.map_value(R(1), cell);
    asm.imm(Op::Mov, a, 1);
    asm.atomic_add(R(1), 0, a);
    asm.load(Size::Double, a, R(1), 8);
    let reflect = asm.jump_imm(If::Equal, a, Then::Reflect as i32);
    asm.exit_with(a);
    asm.here([reflect]);
    for (size, one, other) in [
        (Size::Word, 0, 6),
        (Size::Half, 4, 10),
        (Size::Word, 26, 30),
        (Size::Half, 34, 36),
    ] {
        asm.load(size, a, data, one);
        asm.load(size, b, data, other);
        asm.store(size, data, one, b);
        asm.store(size, data, other, a);
    }
    // Not XDP_TX: what stands at the other end may have no program.
    asm.exit_redirect(ifindex);
    asm.here([short, other, foreign]);
    asm.exit(DROP);
    asm.code()
}

/// Counts UDP packets by the bits of their destination's address that `mask` leaves.
pub(super) fn tally(map: i32, mask: u32) -> Vec<u64> {
    let (data, a, b) = (R(7), R(2), R(3));
    let mut asm = Asm::default();
    let [short, other, foreign] = unless_udp(&mut asm, data, a, b);
    asm.load(Size::Word, a, data, 30);
    // What turns to network order turns back.
    asm.network_order(a, 32);
    asm.imm(Op::And, a, mask.cast_signed());
    asm.store(Size::Word, R(10), KEY, a);
    asm.map(R(1), map);
    asm.reg(Op::Mov, a, R(10));
    asm.imm(Op::Add, a, KEY.into());
    asm.lookup();
    let none = asm.jump_imm(If::Equal, R(0), 0);
    asm.imm(Op::Mov, a, 1);
    asm.atomic_add(R(0), 0, a);
    asm.here([short, other, foreign, none]);
    asm.exit(DROP);
    asm.code()
}

fn fit(length: usize) -> i32 {
    i32::try_from(length).unwrap_or(i32::MAX)
}
