from pretrain_monitor.demo.text import DOMAINS, load_text


def test_both_domains_hold_enough_real_text_to_train_and_to_judge():
    text = load_text()
    assert tuple(text) == DOMAINS
    assert len(text["code"].train_bytes()) > 2_000_000
    assert len(text["documentation"].train_bytes()) > 200_000
    for domain in text.values():
        assert len(domain.held_out_bytes()) > 20_000
    assert b"def " in text["code"].train_bytes().tobytes()
    assert b"statement" in text["documentation"].train_bytes().tobytes()


def test_no_document_is_both_trained_on_and_held_out():
    for domain in load_text().values():
        assert not domain.train.keys() & domain.held_out.keys()
        # Nor under another name: copies of one file fall on the same side.
        assert not set(domain.train.values()) & set(domain.held_out.values())


def test_documentation_is_not_part_of_the_code():
    code = load_text()["code"]
    topics = load_text()["documentation"].train | load_text()["documentation"].held_out
    sources = b"\0".join([*code.train.values(), *code.held_out.values()])
    assert not any(topic in sources for topic in topics.values() if len(topic) > 500)


def test_the_split_is_the_same_every_time():
    first = {name: (list(domain.train), list(domain.held_out)) for name, domain in load_text().items()}
    load_text.cache_clear()
    assert {name: (list(domain.train), list(domain.held_out)) for name, domain in load_text().items()} == first
