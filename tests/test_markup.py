from recurlm.markup import markup, table


def test_texts_are_escaped_for_html_and_for_terminals() -> None:
    assert markup('<a href="x">\'&\x1b\u202e') == "&lt;a href=&quot;x&quot;&gt;&#x27;&amp;\\u001b\\u202e"


def test_a_table_has_a_row_for_each_fact() -> None:
    shown = table([("run", "<x>"), ("state", "finished")])
    assert shown.startswith("<table><tr><th")
    assert shown.count("<tr>") == 2
    assert "&lt;x&gt;</td></tr>" in shown
