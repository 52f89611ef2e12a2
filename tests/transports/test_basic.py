"""Names and passwords in a header, in both of the ways in which they are encoded before."""

from mcpcore_transports.framing.basic import basic_credentials, client_credentials


def test_the_example_of_the_standard() -> None:
    """RFC 7617, 2."""
    assert basic_credentials(b"Aladdin", b"open sesame") == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="


def test_a_clients_are_form_encoded_first() -> None:
    """RFC 6749, 2.3.1 and appendix B."""
    assert client_credentials("a:b c", "\xe9%&") == basic_credentials(b"a%3Ab+c", b"%C3%A9%25%26")
