use std::sync::LazyLock;

use super::*;

static REDACTOR: LazyLock<Redactor> = LazyLock::new(|| Redactor::new().unwrap());

fn redacted(text: &str) -> String {
    REDACTOR.redacted(text)
}

#[test]
fn secrets_are_taken_out_and_the_rest_stays() {
    for (text, expected) in [
        ("token: abc\n", "token: REDACTED\n"),
        ("  \"password\": \"x\",\n", "  \"password\": REDACTED\n"),
        ("--api-key=x y\n", "--api-key= REDACTED\n"),
        ("password=hunter2 token=abc\n", "password= REDACTED\n"),
        ("token=abc password=hunter2\n", "token= REDACTED\n"),
        (
            "token refresh failed, token=abc\n",
            "token refresh failed, token= REDACTED\n",
        ),
        ("İ Token: tokens token=ß\n", "İ Token: REDACTED\n"),
        ("Authorization: Bearer x", "Authorization: REDACTED"),
        ("a eyJhbGciOi.eyJpc3Mi.c2ln b\n", "a REDACTED b\n"),
        ("a eyJ.b c\n", "a eyJ.b c\n"),
        ("tokens are not shown\n", "tokens are not shown\n"),
        ("10.96.0.1:80 default/web\n", "10.96.0.1:80 default/web\n"),
        (
            "x\n-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----\ny\n",
            "x\nREDACTED\ny\n",
        ),
    ] {
        assert_eq!(redacted(text), expected);
    }
}

#[test]
fn keys_of_pem_go_wherever_their_lines_end() {
    for (text, expected) in [
        (
            "{\"a\": \"-----BEGIN EC PRIVATE KEY-----\\nabc\\n-----END EC PRIVATE KEY-----\\n\"}\ny\n",
            "REDACTED\ny\n",
        ),
        (
            "-----BEGIN PGP PRIVATE KEY BLOCK-----\nabc\n-----END PGP PRIVATE KEY BLOCK-----\ny\n",
            "REDACTED\ny\n",
        ),
        (
            "-----END CERTIFICATE----------BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----\ny\n",
            "REDACTED\ny\n",
        ),
        (
            "-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----\n",
            "-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----\n",
        ),
        ("-----BEGIN PRIVATE KEY-----\nabc\n", "REDACTED\n"),
    ] {
        assert_eq!(redacted(text), expected);
    }
}

#[test]
fn a_value_on_the_next_lines_goes_as_far_as_it_is_indented() {
    for (text, expected) in [
        (
            "users:\n- user:\n    client-key-data: |\n      LS0t\n\n      abc\n    x: y\n",
            "users:\n- user:\n    client-key-data: REDACTED\n    x: y\n",
        ),
        ("token:\n  abc\nx: y\n", "token:\nx: y\n"),
        ("  password: >-\n    abc\n", "  password: REDACTED\n"),
        ("token:\nx: y\n", "token:\nx: y\n"),
    ] {
        assert_eq!(redacted(text), expected);
    }
}

#[test]
fn lines_farther_in_are_of_the_value_whatever_is_behind_its_key() {
    for (text, expected) in [
        ("token: | # note\n  abc\nx: y\n", "token: REDACTED\nx: y\n"),
        ("password: \"a\n  b\"\nx: y\n", "password: REDACTED\nx: y\n"),
        ("token: [x,\n  y]\nx: y\n", "token: REDACTED\nx: y\n"),
        (
            "{\n\t\"secret\": {\"a\":\n\t\t\"x\"\n\t},\n\t\"b\": 1\n}\n",
            "{\n\t\"secret\": REDACTED\n\t},\n\t\"b\": 1\n}\n",
        ),
        ("tokens:\n- abc\n- def\nx: y\n", "tokens:\nx: y\n"),
        ("- token: x\n- name: y\n", "- token: REDACTED\n- name: y\n"),
    ] {
        assert_eq!(redacted(text), expected);
    }
}

#[test]
fn a_value_is_secret_by_the_name_beside_it() {
    for (text, expected) in [
        (
            "- name: DB_PASSWORD\n  value: hunter2\n- name: MODE\n  value: x\n",
            "- name: DB_PASSWORD\n  value: REDACTED\n- name: MODE\n  value: x\n",
        ),
        (
            "- name: apiKey\n  value: |\n    a\n    b\nvalue: x\n",
            "- name: apiKey\n  value: REDACTED\nvalue: x\n",
        ),
        (
            "{\"name\":\"DB_PASSWORD\",\"value\":\"hunter2\"}\n",
            "{\"name\":\"DB_PASSWORD\",\"value\": REDACTED\n",
        ),
        (
            "{\"value\":\"hunter2\",\"name\":\"DB_PASSWORD\"}\n",
            "{\"value\": REDACTED\n",
        ),
        (
            "\"e\": \"[{\\\"name\\\":\\\"DB_PASS\\\",\\\"value\\\":\\\"x\\\"}]\"\n",
            "\"e\": \"[{\\\"name\\\":\\\"DB_PASS\\\",\\\"value\\\": REDACTED\n",
        ),
        (
            "{\n  \"name\": \"DB_PASSWORD\",\n  \"value\": \"hunter2\"\n},\n{\"value\": 1}\n",
            "{\n  \"name\": \"DB_PASSWORD\",\n  \"value\": REDACTED\n},\n{\"value\": 1}\n",
        ),
        ("name: web\nvalue: x\n", "name: web\nvalue: x\n"),
    ] {
        assert_eq!(redacted(text), expected);
    }
}

#[test]
fn what_an_engineer_needs_stays() {
    for text in [
        "author: x\ncompass: 5\npassed: 3\nsign: -1\nbypass=true\nauthenticated: no\n",
        "secretName: web-tls\nkind: Secret\nsecret \"web\" not found\n",
        "lb_agent_token_refreshes_total{result=\"ok\"} 5\n",
        "{\"name\": \"author-1\", \"value\": 5}\nname: compass\nvalue: 5\n",
        "Unauthorized: invalid bearer token, Token has been invalidated\n",
        "the token of shop/web expires in 3600s, basic check passed\n",
        "\"netnsCookie\": 4026, \"cookie\": 1\n",
        "docker-pullable://registry:5000/web@sha256:0f3a\n",
        "https://[fd00::1]:80/a@b https://10.0.0.1:6443/x a@b\n",
        "fd00:10:96::a.b 10.96.0.1:443 web-6d5f8c7b9d-x2k4p lb_connect4\n",
        "service=shop/auth:http vip=10.96.0.1\ndefault/vault-secrets:8200 ready\n",
        "{\"shop/auth\":[\"x\"],\"shop/web\":[\"y\"]}\n",
        "cannot read /var/run/secrets/kubernetes.io/serviceaccount/token: Permission denied\n",
        "the token /var/lib/kubelet/pods/0f3a/token expired\n",
        "journalctl -u kubelet.service\n\n  indented\n",
    ] {
        assert_eq!(redacted(text), text);
    }
}

#[test]
fn the_value_of_a_flag_is_the_next_argument_wherever_it_stands() {
    for (text, expected) in [
        ("- --token\n- abc\n- x\n", "- --token\n- REDACTED\n- x\n"),
        (
            "  \"--token\",\n  \"abc\",\n  \"x\"\n",
            "  \"--token\",\n  REDACTED\n  \"x\"\n",
        ),
        ("x --password\n\nabc\ny\n", "x --password\n\nREDACTED\ny\n"),
        (
            "- --use-token\n- --port\n- 80\n",
            "- --use-token\n- --port\n- 80\n",
        ),
        ("shop/auth: x token: y\n", "shop/auth: x token: REDACTED\n"),
        ("https://h/token=abc\n", "https://h/token= REDACTED\n"),
    ] {
        assert_eq!(redacted(text), expected);
    }
}
