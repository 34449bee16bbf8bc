use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::catalogue::AssetName;

fn plain(address: &str) -> Base {
    Base { address: address.parse().unwrap(), secure: false }
}

fn base() -> Base {
    plain("10.77.0.1:80")
}

fn asset(file: &str, octet: u8) -> Asset {
    Asset {
        name: AssetName::image("376567988ad3", "v1.11.0", file).unwrap(),
        path: PathBuf::new(),
        size: 1,
        sha256: [octet; 32],
        modified: None,
    }
}

#[test]
fn the_default_port_is_not_written() {
    assert_eq!(base().to_string(), "http://10.77.0.1");
    assert_eq!(plain("10.77.0.1:8080").to_string(), "http://10.77.0.1:8080");
    assert_eq!(plain("[fd77::1]:80").to_string(), "http://[fd77::1]");
    let secure = |address: &str| Base { secure: true, ..plain(address) }.to_string();
    assert_eq!(secure("10.77.0.1:443"), "https://10.77.0.1");
    assert_eq!(secure("10.77.0.1:80"), "https://10.77.0.1:80");
}

#[test]
fn the_entry_script_as_ipxe_gets_it() {
    let expected = "\
#!ipxe
isset ${attempt} || set attempt:int32 0
isset ${card} || set card-address ${netX/ip},${netX/netmask},${netX/gateway}
isset ${card} || set card ${netX/mac:hexhyp}
set waited:int32 0
:look
set heard
set silent:int32 0
set n:int32 0
iseq ${platform} efi || goto ask
:card
isset ${net${n}/mac} || goto next
iseq ${attempt}${waited} 00 && ifopen net${n} ||
isset ${net${n}.lldp/2.0.0.0:hexraw} && goto hears ||
iseq ${attempt}${waited} 00 && iflinkwait --timeout 1500 net${n} && set link${n} up ||
isset ${link${n}} && inc silent ||
goto next
:hears
set heard ${heard}&lldp=${net${n}/mac:hexhyp},${net${n}.lldp/1.0.0.0:hexraw},${net${n}.lldp/2.0.0.0:hexraw},${net${n}.lldp/4.0.0.0:hexraw},${net${n}.lldp/5.0.0.0:hexraw},${net${n}.lldp/7.0.0.0:hexraw},${net${n}.lldp/8.0.0.0:hexraw}
:next
inc n
iseq ${n} 8 || goto card
iseq ${attempt} 0 || goto ask
iseq ${silent} 0 && goto ask ||
iseq ${waited} 35 && goto ask ||
sleep 1
inc waited
goto look
:ask
chain --replace --autofree http://10.77.0.1/boot/ask?mac=${card}&uuid=${uuid}&serial=${serial:hexraw}&manufacturer=${manufacturer:hexraw}&product=${product:hexraw}&platform=${platform}&arch=${buildarch}&attempt=${attempt}${heard} ||
echo ichord does not answer, asking again in 10 s
sleep 10
inc attempt
goto ask
";
    assert_eq!(entry(base(), LLDP_WAIT_SECONDS), expected);
}

#[test]
fn what_the_entry_script_asks_can_be_read() {
    let script = entry(base(), 1);
    let query = script.split("/boot/ask?").nth(1).unwrap().split(' ').next().unwrap();
    let heard = script.lines().find_map(|line| line.strip_prefix("set heard ${heard}")).unwrap();
    // as iPXE would fill it in
    let filled = query
        .replace("${heard}", heard)
        .replace("${card}", "52-54-00-77-00-02")
        .replace("${net${n}/mac:hexhyp}", "52-54-00-77-00-03")
        .replace("${net${n}.lldp/2.0.0.0:hexraw}", "0574617032")
        .replace("${net${n}.lldp/5.0.0.0:hexraw}", "737731")
        .replace("${attempt}", "2")
        .replace("${platform}", "efi");
    let ask = crate::Ask::from_pairs(filled.split('&').filter_map(|pair| pair.split_once('='))).unwrap();
    assert_eq!((ask.attempt, ask.platform.as_deref()), (2, Some("efi")));
    assert_eq!(ask.lldp[0].port.as_ref().map(ToString::to_string).as_deref(), Some("tap2"));
    assert_eq!((ask.lldp[0].nic.0[5], ask.lldp[0].system_name.as_deref()), (3, Some("sw1")));
}

#[test]
fn the_deploy_script_names_files_and_digests() {
    let kernel = asset("kernel-amd64", 0xaa);
    let initramfs = asset("initramfs-amd64.xz", 0xbb);
    let script = deploy(base(), &kernel, &initramfs, "talos.platform=metal console=ttyS0", 3).unwrap();
    let expected = format!(
        "\
#!ipxe
# sha256 kernel-amd64 {}
# sha256 initramfs-amd64.xz {}
kernel http://10.77.0.1/assets/376567988ad3/v1.11.0/kernel-amd64 initrd=initramfs-amd64.xz talos.platform=metal console=ttyS0 || goto failed
initrd --name initramfs-amd64.xz http://10.77.0.1/assets/376567988ad3/v1.11.0/initramfs-amd64.xz || goto failed
boot || goto failed
:failed
echo could not boot, asking again in 10 s
sleep 10
set attempt:int32 4
chain --replace --autofree http://10.77.0.1/boot.ipxe || exit 1
",
        "aa".repeat(32),
        "bb".repeat(32)
    );
    assert_eq!(script, expected);
}

#[test]
fn the_discovery_image_gets_an_errand_that_it_can_read() {
    let token = Token::new([0xab; 16]);
    let (kernel, initramfs) = (asset("kernel-amd64", 1), asset("initramfs-amd64.xz", 2));
    let script = discover(base(), &kernel, &initramfs, "console=tty0", (&token, 35), 0).unwrap();
    let line = script.lines().find(|line| line.starts_with("kernel ")).unwrap();
    let filled = line
        .replace("${card}", "52-54-00-77-00-01")
        .replace("${card-address}", "10.77.0.100,255.255.255.0,10.77.0.1")
        .replace(" || goto failed", "");
    let errand = crate::discovery::Errand::read(&filled).unwrap();
    assert_eq!((errand.token, errand.daemon.as_str()), (token.clone(), "http://10.77.0.1"));
    assert_eq!(errand.card, "52:54:00:77:00:01".parse().unwrap());
    assert!(discover(base(), &kernel, &initramfs, "a=${b}", (&token, 35), 0).is_err());
}

#[test]
fn a_command_line_that_ipxe_would_change_is_an_error() {
    let variable = "talos.config=http://x/?h=${hostname}";
    for (cmdline, fault) in [
        (variable, CmdlineError::Variable(variable.to_owned())),
        ("a && reboot", CmdlineError::EndsCommand("&&".to_owned())),
        ("a #b", CmdlineError::EndsCommand("#b".to_owned())),
        ("a\nreboot", CmdlineError::NotOneLine),
        ("a\\", CmdlineError::NotOneLine),
        ("initrd=x", CmdlineError::Initrd("initrd=x".to_owned())),
    ] {
        assert_eq!(check_cmdline(cmdline), Err(fault), "{cmdline}");
        assert!(deploy(base(), &asset("k", 0), &asset("i", 0), cmdline, 0).is_err(), "{cmdline}");
    }
    assert_eq!(check_cmdline("init_on_alloc=1 slab_nomerge pti=on console=ttyS0,115200n8 a=$b"), Ok(()));
}

#[test]
fn retry_counts_on_and_never_beyond_ipxes_integers() {
    let expected = "#!ipxe\necho ichord: not yet, asking again in 5 s\nsleep 5\nset attempt:int32 1\n\
                    chain --replace --autofree http://10.77.0.1/boot.ipxe || exit 1\n";
    assert_eq!(retry(base(), 5, 0), expected);
    assert!(retry(base(), 5, u32::MAX).contains("set attempt:int32 2147483647\n"));
}

#[test]
fn each_platform_has_its_way_to_the_disk() {
    assert!(local_disk(Platform::from_ipxe("efi"), None).ends_with("\nexit 1\n"));
    for platform in [Platform::from_ipxe("pcbios"), Platform::from_ipxe("riscv")] {
        assert!(local_disk(platform, None).ends_with("\nsanboot --no-describe --drive 0x80 || exit 1\n"));
    }
    // a model may want the other one
    assert!(local_disk(Some(Platform::Bios), Some(LocalBoot::Exit)).ends_with("\nexit 1\n"));
    assert!(local_disk(Some(Platform::Efi), Some(LocalBoot::Sanboot)).contains("\nsanboot "));
    assert!(local_disk(Some(Platform::Efi), Some(LocalBoot::NotFound)).ends_with("\nexit 1\n"));
}

#[test]
fn a_reason_is_only_shown() {
    let script = refused("two machines say sw1/Eth1/1:\n${uuid} && reboot # \u{e4} --x ; \\");
    let expected = "echo ichord refuses: two machines say sw1/Eth1/1: _{uuid} '&& reboot '# ? '--x '; _";
    assert_eq!(script.lines().nth(1), Some(expected));
    assert_eq!(script.lines().count(), 4);
}

proptest! {
    #[test]
    fn no_reason_breaks_out_of_its_line(reason in any::<String>()) {
        let script = refused(&reason);
        prop_assert_eq!(script.lines().count(), 4);
        prop_assert!(script.is_ascii() && !script.contains('$') && !script.contains('\\'));
        let line = script.lines().nth(1).unwrap_or_default();
        prop_assert!(!line.split(' ').any(ends_command), "{}", line);
    }
}
