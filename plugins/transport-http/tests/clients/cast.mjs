// Foundry's cast 1: asks, sends and waits, over HTTP and WebSocket.

import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { check, hex, refused, step } from "./steps.mjs";

const [http, ws] = process.argv.slice(2);
const binary = new URL("node_modules/@foundry-rs/cast/bin.mjs", import.meta.url).pathname;

for (const [name, url] of [["http", http], ["ws", ws]]) {
  const cast = async (...args) => {
    const { stdout, stderr } = await promisify(execFile)(process.execPath, [binary, ...args, "--rpc-url", url]);
    // The package's starter does not pass on the exit code.
    if (stderr.includes("Error: ")) throw new Error(stderr);
    return stdout.trim();
  };
  await step(`${name}: network`, async () => {
    check(Number(await cast("chain-id")) > 0, "a chain id");
    check((await cast("client")).startsWith("quorate/v"), "the node's name");
    check(Number(await cast("block-number")) >= 1, "blocks");
    check((await cast("gas-price")) === "0" && (await cast("balance", "0x" + "11".repeat(20))) === "0", "nothing costs");
    check(JSON.parse(await cast("rpc", "quorate_status")).status === "ok", "native methods");
  });
  await step(`${name}: send raw and wait`, async () => {
    const id = JSON.parse(await cast("rpc", "eth_sendRawTransaction", hex(`${name} cast raw`)));
    check((await cast("publish", "--async", hex(`${name} cast raw`))) === id, "the same bytes, the same id");
    const receipt = JSON.parse(await cast("receipt", id, "--json"));
    check(receipt.status === "0x1" && receipt.transactionHash === id, "a good receipt");
    check(JSON.parse(await cast("tx", id, "--json")).input === hex(`${name} cast raw`), "it is found");
    const block = JSON.parse(await cast("block", receipt.blockHash, "--json"));
    check(block.transactions.includes(id), "it is in its block");
    check((await cast("block", "latest", "--full")).includes("transactionsRoot"), "whole blocks");
  });
  await step(`${name}: send by an account and wait`, async () => {
    const from = JSON.parse(await cast("rpc", "eth_accounts"))[0];
    const args = ["--unlocked", "--from", from, "--json", "0x" + "00".repeat(20), hex(`${name} cast account`)];
    const receipt = JSON.parse(await cast("send", ...args));
    check(receipt.status === "0x1", "a good receipt");
  });
  await step(`${name}: refusals`, async () => {
    await refused(() => cast("publish", hex("dupl")), -32010, "duplicate");
    await refused(() => cast("publish", hex("reje")), -32011, "the election is closed");
  });
}
