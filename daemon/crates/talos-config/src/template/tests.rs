//! Templates as text/template and sprig fill them in.

use super::*;

const CONFIG: &str = "machine:\n  type: controlplane\n  token: abc\n  nodeLabels: {a: '1', b: two}\n  install: {image: \
                      'factory.talos.dev/metal-installer-secureboot/abc:v1.13.9'}\ncluster:\n  controlPlane: {endpoint: 'https://10.0.0.5:6443'}\n  \
                      network: {podSubnets: [10.244.0.0/16], serviceSubnets: [10.96.0.0/12, 'fd00::/108']}\n";

fn filled(text: &str) -> Result<String, TemplateError> {
    let config = MachineConfig::from_yaml(CONFIG).expect("reads");
    let template = Template::parse(text)?;
    template.run(&data(&config))
}

fn good(text: &str) -> String {
    filled(text).unwrap_or_else(|error| panic!("{text}: {}:{}: {error}", error.at.line, error.at.column))
}

/// What Go makes of each, seen by running it.
#[test]
fn templates_give_what_go_gives() {
    for (template, expected) in [
        ("plain {text}", "plain {text}"),
        ("{{ .MachineConfig.MachineType }}", "controlplane"),
        ("{{ .MachineConfig.MachineInstall.InstallImage | contains \"installer-secureboot\" }}", "true"),
        ("{{\n  .MachineConfig.MachineInstall.InstallImage |\n  contains \"aws\"\n}}", "false"),
        ("{{ .ClusterConfig.ControlPlane.Endpoint }}", "https://10.0.0.5:6443"),
        ("{{ .ClusterConfig.ClusterNetwork.ServiceSubnet }}", "[10.96.0.0/12 fd00::/108]"),
        ("{{ index .ClusterConfig.ClusterNetwork.ServiceSubnet 1 }}", "fd00::/108"),
        ("{{ .MachineConfig.MachineNodeLabels }}", "map[a:1 b:two]"),
        ("{{ .MachineConfig.MachineNodeLabels.b }}{{ index .MachineConfig.MachineNodeLabels \"c\" }}", "two"),
        ("{{ if eq .MachineConfig.MachineType \"worker\" }}w{{ else }}c{{ end }}", "c"),
        ("{{ if false }}a{{ else if true }}b{{ else }}c{{ end }}", "b"),
        (
            "{{ range $n := .ClusterConfig.ClusterNetwork.ServiceSubnet }}\n  - {{ $n }}{{ end }}",
            "\n  - 10.96.0.0/12\n  - fd00::/108",
        ),
        (
            "{{- range $i, $n := .ClusterConfig.ClusterNetwork.PodSubnet -}} {{ $i }}={{ $n }} {{- end -}} x",
            "0=10.244.0.0/16x",
        ),
        ("{{ range $k, $v := .MachineConfig.MachineNodeLabels }}{{ $k }}{{ $v }};{{ end }}", "a1;btwo;"),
        ("{{ range .MachineConfig.MachineCertSANs }}x{{ else }}none{{ end }}", "none"),
        (
            "{{ range until 5 }}{{ if eq . 3 }}{{ break }}{{ end }}{{ if eq . 1 }}{{ continue }}{{ end }}{{ . }}{{ end }}",
            "02",
        ),
        (
            "{{ with .MachineConfig.MachineToken }}{{ . }}{{ end }}{{ with \"\" }}x{{ else }}y{{ end }}",
            "abcy",
        ),
        ("{{ $x := 1 }}{{ if true }}{{ $x = 2 }}{{ $y := 3 }}{{ $y }}{{ end }}{{ $x }}", "32"),
        ("{{ $.MachineConfig.MachineType | upper | trunc 3 }}", "CON"),
        ("a {{- /* gone */ -}} b", "ab"),
        ("{{ \"\\\"q\\\"\\n\" }}{{ `raw\\n` }}", "\"q\"\nraw\\n"),
        ("{{ and 1 \"\" }}|{{ or \"\" \"x\" }}|{{ not 0 }}", "|x|true"),
        ("{{ or true .Nothing.There }}", "true"),
        (
            "{{ printf \"%s-%02d %q %5.1f|%-4s|%t%%\" \"n\" 7 \"x\" 1.25 \"a\" true }}",
            "n-07 \"x\"   1.2|a   |true%",
        ),
        ("{{ print 1 2 \"x\" 3 }}{{ println \"y\" 4 }}", "1 2x3y 4\n"),
        (
            "{{ add 1 2 3 }} {{ sub 5 2 }} {{ mul 2 3 }} {{ div 7 2 }} {{ mod 7 2 }} {{ max 1 9 2 }} {{ int \"12\" }}",
            "6 3 6 3 1 9 12",
        ),
        (
            "{{ list 1 \"a\" true | join \"-\" }} {{ splitList \".\" \"a.b\" | last }} {{ (split \"/\" \"a/b\")._1 }}",
            "1-a-true b b",
        ),
        (
            "{{ default \"d\" \"\" }} {{ coalesce \"\" 0 \"z\" }} {{ ternary \"y\" \"n\" false }} {{ empty nil }}",
            "d z n true",
        ),
        (
            "{{ trimSuffix \".yaml\" \"a.yaml\" }} {{ trimAll \"/\" \"/x/\" }} {{ replace \".\" \"-\" \"a.b.c\" }} {{ substr 1 3 \"abcd\" }}",
            "a x a-b-c bc",
        ),
        (
            "{{ quote \"a\" 1 }} {{ squote \"b\" }} {{ \"x\\ny\" | indent 2 }}{{ nindent 1 \"z\" }}",
            "\"a\" \"1\" 'b'   x\n  y\n z",
        ),
        (
            "{{ \"abc\" | b64enc }} {{ \"YWJj\" | b64dec }} {{ sha256sum \"a\" | trunc 8 }} {{ dict \"k\" (list 1) | toJson }}",
            "YWJj abc ca978112 {\"k\":[1]}",
        ),
        (
            "{{ has 2 (list 1 2) }} {{ list 3 1 2 1 | uniq | sortAlpha }} {{ hasPrefix \"a\" \"ab\" }} {{ len \"four\" }}",
            "true [1 2 3] true 4",
        ),
        (
            "{{ title \"a bc\" }} {{ 1e3 }} {{ -5 }} {{ 0x1F }} {{ lt 1 2 }} {{ eq 1 2 1 }}",
            "A Bc 1000 -5 31 true true",
        ),
    ] {
        assert_eq!(good(template), expected, "{template}");
    }
}

#[test]
fn what_cannot_be_done_is_said_at_its_place() {
    for (template, line, column, expected) in [
        ("a\n {{ .MachineConfig.MachineTyp }}", 2, 5, "has no field `MachineTyp`"),
        ("{{ .MachineConfig.MachineNetwork.NetworkHostname }}", 1, 4, "the config does not have"),
        ("{{ genCA \"x\" 1 }}", 1, 4, "`genCA` of Go templates is not supported"),
        ("{{ uper \"x\" }}", 1, 4, "there is no function `uper`"),
        ("{{ define \"x\" }}{{ end }}", 1, 4, "named templates"),
        ("{{ if true }}x", 1, 4, "`if` has no `end`"),
        ("x{{ end }}", 1, 5, "without a beginning"),
        ("{{ .MachineConfig", 1, 1, "not closed"),
        ("{{ \"x }}", 1, 4, "not closed"),
        ("{{ $x }}", 1, 4, "there is no variable `$x`"),
        ("{{ .MachineConfig }}", 1, 4, "cannot be printed"),
        ("{{ eq 1 \"a\" }}", 1, 4, "cannot be compared"),
        ("{{ \"a\" 1 }}", 1, 4, "only a function"),
        ("{{ (1 }}", 1, 4, "parenthesis is not closed"),
        ("{{ 1 ) }}", 1, 6, "was not opened"),
        ("{{ }}", 1, 1, "an action is empty"),
        ("{{ break }}", 1, 4, "outside of `range`"),
        ("{{ index (list 1) 4 }}", 1, 4, "there is no element 4"),
        ("{{ ~ }}", 1, 4, "has no meaning"),
    ] {
        let error = filled(template).expect_err(template);
        assert!(error.message.contains(expected), "{template}: {}", error.message);
        assert_eq!((error.at.line, error.at.column), (line, column), "{template}: {}", error.message);
    }
    let error = filled("{{ .MachineConfig.MachineTyp }}").expect_err("no field");
    assert_eq!(error.fix.as_deref(), Some("did you mean `MachineType`?"));
    assert!(
        !filled("{{ .MachineConfig.MachineToken.x }}").expect_err("no field").to_string().contains("abc")
    );
}

#[test]
fn nesting_and_length_have_an_end() {
    let deep = "{{ if true }}".repeat(500);
    assert!(filled(&deep).expect_err("too deep").message.contains("deeply"));
    let parentheses = format!("{{{{ {}1{} }}}}", "(".repeat(5000), ")".repeat(5000));
    assert!(filled(&parentheses).expect_err("too deep").message.contains("deeply"));
    let long = "{{ range until 100000 }}{{ range until 100000 }}{{ \"0123456789\" }}{{ end }}{{ end }}";
    assert!(filled(long).expect_err("too long").message.contains("more than"));
}

proptest::proptest! {
    #[test]
    fn nothing_makes_it_panic(text in "[{}. $a-z|()\"0-9:=,/*\n-]{0,60}") {
        let _ = filled(&format!("{{{{{text}}}}}"));
        let _ = filled(&text);
    }
}
