//! Where this kernel keeps what the programs read of a socket.
//!
//! In: the types of the kernel, as it tells them (BTF). Out: offsets. A field that is not found, or has
//! another size than the programs read, has none, and what needs it is not done.

use btf_rs::{Backend, Btf, BtfType, Error, Type};
use kmesh_lite_common::{Bit, SocketFields};
use std::sync::LazyLock;

/// Found out once: the kernel does not change.
pub static SOCKET_FIELDS: LazyLock<SocketFields> = LazyLock::new(|| match kernel_types() {
    Ok(btf) => Types(btf).socket_fields(),
    Err(error) => {
        log::warn!("cannot read the types of the kernel: {error}");
        SocketFields::default()
    }
});

/// A part of the kernel's types: before 6.16 the file cannot be mapped, and is read as a whole.
fn kernel_types() -> Result<Btf, Error> {
    const TYPES: &str = "/sys/kernel/btf/vmlinux";
    Btf::from_file_with_backend(TYPES, Backend::Mmap).or_else(|_| Btf::from_file(TYPES))
}

struct Types(Btf);

/// A field of a structure, in bits.
struct Field {
    from: u32,
    size: u32,
}

impl Types {
    fn socket_fields(&self) -> SocketFields {
        let whole = |structure, field, bytes: u32| {
            let field = self.field(structure, field);
            let field = field.filter(|field| field.size == 8 * bytes && field.from % 8 == 0);
            field.map_or(0, |field| field.from / 8)
        };
        let zero_copy = Bit {
            offset: whole("sock_common", "skc_flags", 8),
            number: self.enumerator("sock_flags", "SOCK_ZEROCOPY").unwrap_or(0),
        };
        let done = Bit {
            offset: zero_copy.offset,
            number: self.enumerator("sock_flags", "SOCK_DONE").unwrap_or(0),
        };
        let bit = |structure, field| {
            let field = self.field(structure, field).filter(|field| field.size == 1);
            field.map_or_else(Bit::default, |field| Bit {
                offset: field.from / 8,
                number: field.from % 8,
            })
        };
        SocketFields {
            zero_copy: if zero_copy.number == 0 {
                Bit::default()
            } else {
                zero_copy
            },
            done: if done.number == 0 {
                Bit::default()
            } else {
                done
            },
            error: whole("sock", "sk_err", 4),
            only_v6: bit("sock_common", "skc_ipv6only"),
            zero_copy_ids: whole("sock", "sk_zckey", 4),
            of_kernel: bit("sock", "sk_kern_sock"),
            cookie: whole("sock_common", "skc_cookie", 8),
            storage: whole("sock", "sk_bpf_storage", 8),
            upper_layer: whole("inet_connection_sock", "icsk_ulp_ops", 8),
            // This function sends without such ids, and went when pieces began to be sent like any other.
            ids_count_pieces: u32::from(!self.has_function("do_tcp_sendpages")),
            state: whole("sock_common", "skc_state", 1),
            bytes_acked: whole("tcp_sock", "bytes_acked", 8),
            bytes_received: whole("tcp_sock", "bytes_received", 8),
            retransmits: whole("tcp_sock", "total_retrans", 4),
            rtt: whole("tcp_sock", "srtt_us", 4),
            of_socket: whole("socket", "sk", 8),
        }
    }

    fn has_function(&self, name: &str) -> bool {
        let found = self.0.resolve_types_by_name(name).unwrap_or_default();
        found.iter().any(|found| matches!(found, Type::Func(_)))
    }

    fn enumerator(&self, of: &str, name: &str) -> Option<u32> {
        let found = self.0.resolve_types_by_name(of).ok()?;
        let members = found.into_iter().find_map(|found| match found {
            Type::Enum(found) => Some(found.members),
            _ => None,
        })?;
        let is_it = |member: &&btf_rs::EnumMember| self.is_named(*member, name);
        members.iter().find(is_it).map(btf_rs::EnumMember::val)
    }

    fn field(&self, of: &str, name: &str) -> Option<Field> {
        let found = self.0.resolve_types_by_name(of).ok()?;
        let structure = found.into_iter().find_map(|found| match found {
            Type::Struct(found) => Some(found),
            _ => None,
        })?;
        self.member(&structure, name)
    }

    /// A member of a structure, or of those without a name inside it.
    fn member(&self, structure: &btf_rs::Struct, name: &str) -> Option<Field> {
        structure.members.iter().find_map(|member| {
            if self.is_named(member, name) {
                let size = match member.bitfield_size() {
                    None | Some(0) => 8 * self.size(member)?,
                    Some(bits) => bits,
                };
                return Some(Field {
                    from: member.bit_offset(),
                    size,
                });
            }
            if !self.is_named(member, "") {
                return None;
            }
            match self.0.resolve_chained_type(member).ok()? {
                Type::Struct(inside) | Type::Union(inside) => {
                    let mut field = self.member(&inside, name)?;
                    field.from += member.bit_offset();
                    Some(field)
                }
                _ => None,
            }
        })
    }

    fn is_named(&self, it: &dyn BtfType, name: &str) -> bool {
        let named = self.0.resolve_name(it);
        named.map_or(name.is_empty(), |named| named == name)
    }

    /// In bytes.
    fn size(&self, member: &btf_rs::Member) -> Option<u32> {
        let mut found = self.0.resolve_chained_type(member).ok()?;
        loop {
            found = match found {
                Type::Int(int) => return u32::try_from(int.size()).ok(),
                Type::Ptr(_) => return Some(size_of::<usize>() as u32),
                Type::Struct(structure) => return u32::try_from(structure.size()).ok(),
                Type::Typedef(it) => self.0.resolve_chained_type(&it).ok()?,
                Type::Const(it) | Type::Volatile(it) => self.0.resolve_chained_type(&it).ok()?,
                _ => return None,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_kernel_has_every_field() {
        let Ok(btf) = kernel_types() else {
            eprintln!("skipped: this kernel does not tell its types");
            return;
        };
        let fields = Types(btf).socket_fields();
        for offset in [
            fields.zero_copy.offset,
            fields.done.offset,
            fields.error,
            fields.only_v6.offset,
            fields.zero_copy_ids,
            fields.upper_layer,
            fields.of_kernel.offset,
            fields.cookie,
            fields.storage,
            fields.state,
            fields.bytes_acked,
            fields.bytes_received,
            fields.retransmits,
            fields.rtt,
            fields.of_socket,
        ] {
            assert_ne!(offset, 0, "{fields:?}");
        }
        assert_ne!(fields.zero_copy.number, 0);
    }

    #[test]
    fn a_field_that_is_not_there_has_no_place() {
        let Ok(btf) = kernel_types() else {
            eprintln!("skipped: this kernel does not tell its types");
            return;
        };
        let types = Types(btf);
        assert!(types.field("sock", "no_such_field").is_none());
        assert!(types.field("no_such_structure", "sk_zckey").is_none());
        assert!(types.enumerator("sock_flags", "SOCK_NOTHING").is_none());
        assert!(!types.has_function("no_such_function"));
    }
}
