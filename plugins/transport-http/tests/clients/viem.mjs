// viem 2: connects, sends, waits for receipts and follows blocks, over HTTP and WebSocket.

import { createPublicClient, createWalletClient, http as overHttp, webSocket } from "viem";
import { check, hex, refused, step } from "./steps.mjs";

const [http, ws] = process.argv.slice(2);

for (const [name, transport] of [
  ["http", overHttp(http, { batch: true })],
  ["ws", webSocket(ws)],
]) {
  const client = createPublicClient({ transport, pollingInterval: 100, cacheTime: 0 });
  const wallet = createWalletClient({ transport, pollingInterval: 100 });
  await step(`${name}: network`, async () => {
    check((await client.getChainId()) > 0, "a chain id");
    check((await client.getBlockNumber()) >= 1n, "blocks");
    await client.getFeeHistory({ blockCount: 4, rewardPercentiles: [25, 75] });
    check((await client.getLogs()).length === 0, "no logs");
    check((await client.getGasPrice()) === 0n, "no price");
    check((await client.getBlock({ blockNumber: 0n })).number === 0n, "genesis");
  });
  await step(`${name}: send raw and wait`, async () => {
    const hash = await client.sendRawTransaction({ serializedTransaction: hex(`${name} viem raw`) });
    const receipt = await client.waitForTransactionReceipt({ hash });
    check(receipt.status === "success", "a good receipt");
    const block = await client.getBlock({ blockHash: receipt.blockHash, includeTransactions: true });
    check(block.transactions.some((one) => one.hash === hash && one.input === hex(`${name} viem raw`)), "in its block");
    check(block.quorumCertificate.signatures.length === 2, "the certificate rides beside");
    check((await client.getTransactionConfirmations({ hash })) >= 1n, "confirmed");
  });
  await step(`${name}: send by an account and wait`, async () => {
    const [account] = await wallet.getAddresses();
    const to = "0x" + "00".repeat(20);
    const hash = await wallet.sendTransaction({ account, to, data: hex(`${name} viem account`), chain: null });
    check((await client.waitForTransactionReceipt({ hash })).transactionHash === hash, "its receipt");
  });
  await step(`${name}: one that waits is not taken for replaced`, async () => {
    const held = await client.sendRawTransaction({ serializedTransaction: hex(`hold viem ${name}`) });
    let replaced;
    const waiting = client
      .waitForTransactionReceipt({ hash: held, timeout: 2_000, onReplaced: (by) => (replaced = by) })
      .then(() => "final", (error) => error.name);
    const other = await client.sendRawTransaction({ serializedTransaction: hex(`${name} viem other`) });
    await client.waitForTransactionReceipt({ hash: other });
    const outcome = await waiting;
    check(replaced === undefined && outcome === "WaitForTransactionReceiptTimeoutError", `it still waits: ${outcome}`);
  });
  await step(`${name}: refusals`, async () => {
    const send = (word) => () => client.sendRawTransaction({ serializedTransaction: hex(word) });
    await refused(send("dupl"), -32010, "duplicate");
    await refused(send("reje"), -32011, "the election is closed");
    const unknown = client.getTransaction({ hash: "0x" + "ab".repeat(32) });
    check((await unknown.catch((error) => error.name)) === "TransactionNotFoundError", "unknown is null");
  });
  await step(`${name}: follow blocks`, async () => {
    const numbers = [];
    await new Promise((done, failed) => {
      const stop = client.watchBlocks({
        emitMissed: true,
        onError: failed,
        onBlock: (block) => {
          numbers.push(block.number);
          if (numbers.length >= 4) done(stop());
        },
      });
    });
    check(numbers.every((number, at) => at === 0 || number === numbers[at - 1] + 1n), `one after the other: ${numbers}`);
  });
  await step(`${name}: follow by a filter`, async () => {
    if (name === "ws") return;
    const filter = await client.createBlockFilter();
    let hashes = [];
    while (hashes.length < 2) hashes = hashes.concat(await client.getFilterChanges({ filter }));
    check(await client.uninstallFilter({ filter }), "removed");
  });
}
process.exit(0);
