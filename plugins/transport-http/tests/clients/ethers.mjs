// ethers 6: connects, sends, waits for receipts and follows blocks, over HTTP and WebSocket.

import { JsonRpcProvider, WebSocketProvider } from "ethers";
import { check, hex, refused, step } from "./steps.mjs";

const [http, ws] = process.argv.slice(2);

// For 250 ms it would give what it was told before: a transaction as it was when it waited, though it is final.
const cacheTimeout = -1;

for (const [name, provider] of [
  ["http", new JsonRpcProvider(http, undefined, { pollingInterval: 100, cacheTimeout })],
  ["ws", new WebSocketProvider(ws, undefined, { cacheTimeout })],
]) {
  await step(`${name}: network`, async () => {
    const network = await provider.getNetwork();
    check(network.chainId > 0n, "a chain id");
    check((await provider.getBlockNumber()) >= 1, "blocks");
    await provider.getFeeData();
    check((await provider.getBalance("0x" + "11".repeat(20))) === 0n, "no balance");
    check((await provider.getLogs({ fromBlock: 0, toBlock: "latest" })).length === 0, "no logs");
  });
  await step(`${name}: send by a signer and wait`, async () => {
    const signer = await provider.getSigner();
    const sent = await signer.sendTransaction({ to: "0x" + "00".repeat(20), data: hex(`${name} signer`) });
    const receipt = await sent.wait();
    check(receipt.status === 1 && receipt.hash === sent.hash, "a good receipt");
    const block = await provider.getBlock(receipt.blockNumber, true);
    check(block.hash === receipt.blockHash && block.transactions.includes(sent.hash), "it is in its block");
    check(block.prefetchedTransactions.some((one) => one.data === hex(`${name} signer`)), "whole transactions");
    const transaction = await provider.getTransaction(sent.hash);
    check(transaction.blockNumber === receipt.blockNumber && transaction.data === hex(`${name} signer`), "it is found");
  });
  await step(`${name}: send raw and wait`, async () => {
    const id = await provider.send("eth_sendRawTransaction", [hex(`${name} raw`)]);
    const again = await provider.send("eth_sendRawTransaction", [hex(`${name} raw`)]);
    check(id === again, "the same bytes, the same id");
    const receipt = await provider.waitForTransaction(id, 1, 10_000);
    check(receipt.status === 1, "a good receipt");
  });
  await step(`${name}: one that waits is not taken for replaced`, async () => {
    const signer = await provider.getSigner();
    const held = await signer.sendTransaction({ to: "0x" + "00".repeat(20), data: hex(`hold ${name}`) });
    const other = await signer.sendTransaction({ to: "0x" + "00".repeat(20), data: hex(`${name} other`) });
    await other.wait();
    const outcome = await held.wait(1, 2_000).then(() => "final", (error) => error.code);
    check(outcome === "TIMEOUT", `it still waits, and did not become ${outcome}`);
  });
  await step(`${name}: refusals`, async () => {
    await refused(() => provider.send("eth_sendRawTransaction", [hex("dupl")]), -32010, "07".repeat(32));
    await refused(() => provider.send("eth_sendRawTransaction", [hex("reje")]), -32011, "the election is closed");
  });
  await step(`${name}: follow blocks`, async () => {
    const numbers = [];
    await new Promise((done) => {
      provider.on("block", (number) => {
        numbers.push(number);
        if (numbers.length >= 4) done();
      });
    });
    check(numbers.every((number, at) => at === 0 || number === numbers[at - 1] + 1), `one after the other: ${numbers}`);
    await provider.removeAllListeners();
    // After the answer to this, the one to the unsubscription has come too.
    await provider.getBlockNumber();
  });
  await provider.destroy();
}
