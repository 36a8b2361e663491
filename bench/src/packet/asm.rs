//! The few instructions of eBPF that the generator and its counterparts are made of.

/// A register.
#[derive(Debug, Clone, Copy)]
pub(super) struct R(pub(super) u8);

/// How much a load or store moves.
#[derive(Debug, Clone, Copy)]
pub(super) enum Size {
    Byte = 0x10,
    Half = 0x08,
    Word = 0x00,
    Double = 0x18,
}

/// Operations of two operands.
#[derive(Debug, Clone, Copy)]
pub(super) enum Op {
    Add = 0x00,
    Mul = 0x20,
    And = 0x50,
    Lsh = 0x60,
    Rsh = 0x70,
    Xor = 0xa0,
    Mov = 0xb0,
}

/// Conditions of a jump.
#[derive(Debug, Clone, Copy)]
pub(super) enum If {
    Equal = 0x10,
    Above = 0x20,
    NotEqual = 0x50,
}

/// A forward jump that is still to be given its end.
#[must_use]
pub(super) struct Jump(usize);

/// `bpf_map_lookup_elem`
const LOOKUP: i32 = 1;
/// `bpf_redirect`
const REDIRECT: i32 = 23;

/// A program that is being written.
#[derive(Debug, Default)]
pub(super) struct Asm {
    code: Vec<u64>,
}

impl Asm {
    fn put(&mut self, code: u8, dst: R, src: R, off: i16, imm: i32) {
        let bytes = off.to_le_bytes();
        let [a, b, c, d] = imm.to_le_bytes();
        let registers = dst.0 | src.0 << 4;
        let all = [code, registers, bytes[0], bytes[1], a, b, c, d];
        self.code.push(u64::from_le_bytes(all));
    }

    /// `dst op= imm`, in 64 bits, the number extended with its sign.
    pub(super) fn imm(&mut self, op: Op, dst: R, imm: i32) {
        self.put(0x07 | op as u8, dst, R(0), 0, imm);
    }

    /// `dst op= src`, in 64 bits.
    pub(super) fn reg(&mut self, op: Op, dst: R, src: R) {
        self.put(0x0f | op as u8, dst, src, 0, 0);
    }

    /// `dst = (dst + imm)`, cut to 32 bits.
    pub(super) fn add32(&mut self, dst: R, imm: u32) {
        self.put(0x04, dst, R(0), 0, imm.cast_signed());
    }

    /// The lower `bits` of `dst` in network order, the rest zero.
    pub(super) fn network_order(&mut self, dst: R, bits: i32) {
        self.put(0xdc, dst, R(0), 0, bits);
    }

    /// `dst = *(src + off)`
    pub(super) fn load(&mut self, size: Size, dst: R, src: R, off: i16) {
        self.put(0x61 | size as u8, dst, src, off, 0);
    }

    /// `*(dst + off) = src`
    pub(super) fn store(&mut self, size: Size, dst: R, off: i16, src: R) {
        self.put(0x63 | size as u8, dst, src, off, 0);
    }

    /// `*(dst + off) = imm`
    pub(super) fn store_imm(&mut self, size: Size, dst: R, off: i16, imm: i32) {
        self.put(0x62 | size as u8, dst, R(0), off, imm);
    }

    /// `*(dst + off) += src`, as one.
    pub(super) fn atomic_add(&mut self, dst: R, off: i16, src: R) {
        self.put(0xdb, dst, src, off, 0);
    }

    /// The address of the first value of the array map with this descriptor.
    pub(super) fn map_value(&mut self, dst: R, map: i32) {
        /// `BPF_PSEUDO_MAP_VALUE`
        const MAP_VALUE: R = R(2);
        self.put(0x18, dst, MAP_VALUE, 0, map);
        self.put(0, R(0), R(0), 0, 0);
    }

    /// The map with this descriptor.
    pub(super) fn map(&mut self, dst: R, map: i32) {
        /// `BPF_PSEUDO_MAP_FD`
        const MAP_FD: R = R(1);
        self.put(0x18, dst, MAP_FD, 0, map);
        self.put(0, R(0), R(0), 0, 0);
    }

    /// `r0 = bpf_map_lookup_elem(r1, r2)`
    pub(super) fn lookup(&mut self) {
        self.put(0x85, R(0), R(0), 0, LOOKUP);
    }

    /// Jumps if `dst` compares so with a number.
    pub(super) fn jump_imm(&mut self, cond: If, dst: R, imm: i32) -> Jump {
        self.put(0x05 | cond as u8, dst, R(0), 0, imm);
        Jump(self.code.len())
    }

    /// Jumps if `dst` compares so with `src`.
    pub(super) fn jump_reg(&mut self, cond: If, dst: R, src: R) -> Jump {
        self.put(0x0d | cond as u8, dst, src, 0, 0);
        Jump(self.code.len())
    }

    /// Where jumps lead that are here.
    pub(super) fn here(&mut self, jumps: impl IntoIterator<Item = Jump>) {
        for Jump(from) in jumps {
            // No program here is longer than what the field holds.
            let off = u16::try_from(self.code.len() - from).unwrap_or(u16::MAX);
            self.code[from - 1] |= u64::from(off) << 16;
        }
    }

    /// Ends with the frame on its way out by a device.
    pub(super) fn exit_redirect(&mut self, ifindex: u32) {
        self.imm(Op::Mov, R(1), ifindex.cast_signed());
        self.imm(Op::Mov, R(2), 0);
        self.put(0x85, R(0), R(0), 0, REDIRECT);
        self.put(0x95, R(0), R(0), 0, 0);
    }

    /// Ends with this verdict.
    pub(super) fn exit(&mut self, verdict: i32) {
        self.imm(Op::Mov, R(0), verdict);
        self.put(0x95, R(0), R(0), 0, 0);
    }

    /// Ends with the verdict in a register.
    pub(super) fn exit_with(&mut self, verdict: R) {
        self.reg(Op::Mov, R(0), verdict);
        self.put(0x95, R(0), R(0), 0, 0);
    }

    /// As the kernel takes them.
    pub(super) fn code(self) -> Vec<u64> {
        self.code
    }
}
