"""web3.py 8: connects, sends, waits for receipts and follows blocks, over HTTP and WebSocket."""

import asyncio
import sys

from web3 import AsyncWeb3, HTTPProvider, Web3, WebSocketProvider
from web3.exceptions import TimeExhausted, TransactionNotFound

NOBODY = "0x" + "00" * 20


def step(name):
    print(f"ok: {name}", flush=True)


def refused(error, code, word):
    assert str(code) in str(error.args) and word in str(error.args), error.args


def over_http(url):
    w3 = Web3(HTTPProvider(url))
    assert w3.is_connected()
    assert w3.client_version.startswith("quorate/v")
    assert w3.eth.chain_id > 0 and w3.eth.block_number >= 1
    assert w3.eth.get_block(0).number == 0
    w3.eth.fee_history(4, "latest", [25, 75])
    step("http: network")

    data = b"http web3py"
    sent = w3.eth.send_transaction({"from": w3.eth.accounts[0], "to": NOBODY, "data": data})
    receipt = w3.eth.wait_for_transaction_receipt(sent, timeout=10, poll_latency=0.05)
    assert receipt.status == 1 and receipt.transactionHash == sent
    block = w3.eth.get_block(receipt.blockNumber, full_transactions=True)
    assert block.hash == receipt.blockHash and any(bytes(one.input) == data for one in block.transactions)
    assert bytes(w3.eth.get_transaction(sent).input) == data
    step("http: send and wait")

    sent = w3.eth.send_raw_transaction(b"http web3py raw")
    assert sent == w3.eth.send_raw_transaction(b"http web3py raw")
    assert w3.eth.wait_for_transaction_receipt(sent, timeout=10, poll_latency=0.05).status == 1
    step("http: send raw and wait")

    held = w3.eth.send_raw_transaction(b"hold web3py")
    assert w3.eth.get_transaction(held).blockNumber is None
    try:
        w3.eth.wait_for_transaction_receipt(held, timeout=1, poll_latency=0.05)
        raise AssertionError("it has no receipt")
    except TimeExhausted:
        pass
    try:
        w3.eth.get_transaction("0x" + "ab" * 32)
        raise AssertionError("it is unknown")
    except TransactionNotFound:
        pass
    step("http: pending and unknown")

    for word, code, reason in [(b"dupl", -32010, "07" * 32), (b"reje", -32011, "the election is closed")]:
        try:
            w3.eth.send_raw_transaction(word)
            raise AssertionError("it is refused")
        except Exception as error:  # Another class in every version.
            refused(error, code, reason)
    step("http: refusals")

    entries = w3.eth.filter("latest")
    hashes = []
    while len(hashes) < 3:
        hashes += entries.get_new_entries()
    numbers = [w3.eth.get_block(one).number for one in hashes]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), numbers
    assert w3.eth.uninstall_filter(entries.filter_id)
    step("http: follow blocks")


async def over_websocket(url):
    async with AsyncWeb3(WebSocketProvider(url)) as w3:
        assert await w3.eth.chain_id > 0
        sent = await w3.eth.send_raw_transaction(b"ws web3py raw")
        receipt = await w3.eth.wait_for_transaction_receipt(sent, timeout=10, poll_latency=0.05)
        assert receipt.status == 1
        step("ws: send and wait")

        subscription = await w3.eth.subscribe("newHeads")
        numbers = []
        async for message in w3.socket.process_subscriptions():
            numbers.append(message["result"]["number"])
            if len(numbers) == 4:
                break
        assert numbers == list(range(numbers[0], numbers[0] + 4)), numbers
        assert await w3.eth.unsubscribe(subscription)
        step("ws: follow blocks")


over_http(sys.argv[1])
asyncio.run(asyncio.wait_for(over_websocket(sys.argv[2]), 60))
