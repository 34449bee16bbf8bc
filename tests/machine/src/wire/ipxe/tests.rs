use super::*;
use hardware::{MacAddr, SystemUuid};

fn ipxe(platform: &'static str, script: &str) -> Ipxe {
    let uuid = SystemUuid([
        0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 1,
    ]);
    let mut ipxe = Ipxe::new(Settings::new(MacAddr([0x52, 0x54, 0, 0x77, 0, 1]), uuid, "S 1", platform));
    ipxe.script(script);
    ipxe
}

/// An LLDP frame's TLVs as lldpd sends them: MAC chassis id, port id of subtype ifName, TTL, system name.
fn neighbour() -> Neighbour {
    let mut pdu = Vec::new();
    for (kind, value) in
        [(1_u16, b"\x04\x02\0\0\0\0\x01".as_slice()), (2, b"\x05tap2"), (3, b"\0\x08"), (5, b"sw1"), (0, b"")]
    {
        pdu.extend((kind << 9 | u16::try_from(value.len()).unwrap()).to_be_bytes());
        pdu.extend(value);
    }
    Neighbour::read(&pdu).unwrap()
}

/// Runs to the first step that is neither an echo nor a sleep; the sleeps are counted.
fn run(ipxe: &mut Ipxe) -> (u64, Step) {
    let mut slept = 0;
    loop {
        match ipxe.step() {
            Step::Sleep(seconds) => slept += seconds,
            Step::Echo(_) => {}
            other => return (slept, other),
        }
    }
}

#[test]
fn variables_are_shown_in_the_forms_of_the_lab() {
    let mut ipxe =
        ipxe("efi", "#!ipxe\necho ${netX/mac:hexhyp} ${net0/mac} ${uuid} ${serial:uristring} [${nothing}]\n");
    let shown = "52-54-00-77-00-01 52:54:00:77:00:01 00112233-4455-6677-8899-aabbccddee01 S%201 []";
    assert_eq!(ipxe.step(), Step::Echo(shown.to_owned()));
}

#[test]
fn lldp_is_read_as_the_lab_saw_it() {
    let script = "#!ipxe\necho ${net0.lldp/5.0.0.0:string} ${netX.lldp/2.0.0.0:hexraw} ${net0.lldp/5.2.0.1.0:string} \
                  ${net0.lldp/1.0.0.0:hexraw}\n";
    let mut ipxe = ipxe("efi", script);
    ipxe.settings.neighbour = Some(neighbour());
    assert_eq!(ipxe.step(), Step::Echo("sw1 0574617032 tap2 04020000000001".to_owned()));
}

#[test]
fn success_and_failure_steer_a_line() {
    let script = "#!ipxe\n\
                  isset ${nothing} && echo a ||\n\
                  isset yes && echo b || echo c\n\
                  isset ${nothing} || echo d && echo e\n\
                  echo f # not this\n\
                  isset ${nothing}\n\
                  echo never\n";
    let mut ipxe = ipxe("efi", script);
    let mut said = Vec::new();
    let end = loop {
        match ipxe.step() {
            Step::Echo(text) => said.push(text),
            other => break other,
        }
    };
    assert_eq!(said, ["b", "d", "e", "f"]);
    assert_eq!(end, Step::Failed("isset: no".to_owned()), "a failed line ends the script");
}

#[test]
fn the_entry_script_asks_after_its_bounded_wait_and_at_once_when_the_switch_was_heard() {
    let entry = "#!ipxe\n\
        isset ${attempt} || set attempt:int32 0\n\
        iseq ${platform} efi || goto ask\n\
        set waited:int32 0\n\
        :listen\n\
        isset ${netX.lldp/2.0.0.0:hexraw} && goto ask ||\n\
        iseq ${waited} 35 && goto ask ||\n\
        sleep 1\n\
        inc waited\n\
        goto listen\n\
        :ask\n\
        chain --replace --autofree http://10.0.0.1/boot/ask?port=${netX.lldp/2.0.0.0:hexraw}&attempt=${attempt} ||\n\
        sleep 10\n\
        inc attempt\n\
        goto ask\n";
    let url = |port, attempt| Step::Script(format!("http://10.0.0.1/boot/ask?port={port}&attempt={attempt}"));
    let mut deaf = ipxe("efi", entry);
    assert_eq!(run(&mut deaf), (35, url("", 0)));
    deaf.failed("connection refused");
    assert_eq!(run(&mut deaf), (10, url("", 1)));

    let mut hearing = ipxe("efi", entry);
    hearing.settings.neighbour = Some(neighbour());
    assert_eq!(run(&mut hearing), (0, url("0574617032", 0)));

    assert_eq!(run(&mut ipxe("pcbios", entry)), (0, url("", 0)));
}

#[test]
fn a_kernel_is_booted_with_its_arguments_and_judged_by_the_digests_in_the_script() {
    let script = "#!ipxe\n# sha256 kernel-amd64 AA\n# sha256 initramfs-amd64.xz bb\n\
        kernel http://10.0.0.1/i/kernel-amd64 initrd=initramfs-amd64.xz talos.platform=metal pti=on || goto failed\n\
        initrd --name initramfs-amd64.xz http://10.0.0.1/i/initramfs-amd64.xz || goto failed\n\
        boot || goto failed\n:failed\nexit 1\n";
    for (kernel, initrd, promised, intact) in [
        ("aa", "bb", None, true),
        ("aa", "cc", None, false),
        ("ff", "bb", None, false),
        ("aa", "bb", Some("cc"), false),
    ] {
        let mut ipxe = ipxe("efi", script);
        assert_eq!(ipxe.step(), Step::Image("http://10.0.0.1/i/kernel-amd64".to_owned()));
        ipxe.image(kernel, promised);
        assert_eq!(ipxe.step(), Step::Image("http://10.0.0.1/i/initramfs-amd64.xz".to_owned()));
        ipxe.image(initrd, None);
        let Step::Boot(boot) = ipxe.step() else { panic!("no boot") };
        assert_eq!(boot.cmdline, "initrd=initramfs-amd64.xz talos.platform=metal pti=on");
        assert_eq!(boot.initrds, ["http://10.0.0.1/i/initramfs-amd64.xz"]);
        assert_eq!(boot.intact, intact);
    }
}

#[test]
fn sanboot_that_finds_nothing_exits() {
    let mut ipxe = ipxe("pcbios", "#!ipxe\nsanboot --no-describe --drive 0x80 || exit 1\n");
    assert_eq!(ipxe.step(), Step::SanBoot);
    ipxe.failed("no disk");
    assert_eq!(ipxe.step(), Step::Exit);
}

#[test]
fn what_is_not_a_script_or_does_not_end_fails() {
    let fails = |script: &str| matches!(run(&mut ipxe("efi", script)).1, Step::Failed(_));
    assert!(fails("<html>404</html>"));
    assert!(fails("#!ipxe\nfrobnicate\n"));
    assert!(fails("#!ipxe\ngoto nowhere\n"));
    assert!(fails("#!ipxe\n:again\ngoto again\n"));
}

#[test]
fn a_cut_lldp_frame_is_nothing() {
    for pdu in [b"".as_slice(), b"\x02", b"\x02\x07\x04\x02", b"\x04\x02\x05a"] {
        assert_eq!(Neighbour::read(pdu), None);
    }
}
