// web3.js 4: connects, sends, waits for receipts and follows blocks, over HTTP and WebSocket.

import { Web3 } from "web3";
import { check, hex, refused, step } from "./steps.mjs";

const [http, ws] = process.argv.slice(2);

for (const [name, url] of [["http", http], ["ws", ws]]) {
  const web3 = new Web3(url);
  web3.eth.transactionPollingInterval = 100;
  web3.eth.transactionReceiptPollingInterval = 100;
  web3.eth.transactionConfirmationPollingInterval = 100;
  web3.eth.transactionConfirmationBlocks = 1;
  await step(`${name}: network`, async () => {
    check((await web3.eth.getChainId()) > 0n, "a chain id");
    check((await web3.eth.net.getId()) === (await web3.eth.getChainId()), "one number");
    check((await web3.eth.getBlockNumber()) >= 1n, "blocks");
    check(await web3.eth.net.isListening(), "listening");
    check((await web3.eth.getNodeInfo()).startsWith("quorate/v"), "the node's name");
    const block = await web3.eth.getBlock("latest", true);
    check(block.hash.length === 66 && Array.isArray(block.uncles), "a block");
  });
  await step(`${name}: send and wait`, async () => {
    const [from] = await web3.eth.getAccounts();
    const data = hex(`${name} web3js`);
    const receipt = await web3.eth.sendTransaction({ from, to: "0x" + "00".repeat(20), data });
    check(receipt.status === 1n, "a good receipt");
    check((await web3.eth.getTransaction(receipt.transactionHash)).input === data, "it is found");
    const block = await web3.eth.getBlock(receipt.blockHash);
    check(block.transactions.includes(receipt.transactionHash), "it is in its block");
  });
  await step(`${name}: send raw and wait`, async () => {
    const params = [hex(`${name} web3js raw`)];
    const id = await web3.requestManager.send({ method: "eth_sendRawTransaction", params });
    let receipt = null;
    while (!receipt) receipt = await web3.eth.getTransactionReceipt(id).catch(() => null);
    check(receipt.status === 1n, "a good receipt");
  });
  await step(`${name}: refusals`, async () => {
    const send = (word) => () => web3.requestManager.send({ method: "eth_sendRawTransaction", params: [hex(word)] });
    await refused(send("dupl"), -32010, "07".repeat(32));
    await refused(send("reje"), -32011, "the election is closed");
  });
  if (name === "ws") {
    await step(`${name}: follow blocks`, async () => {
      const subscription = await web3.eth.subscribe("newBlockHeaders");
      const numbers = [];
      await new Promise((done, failed) => {
        subscription.on("error", failed);
        subscription.on("data", (header) => {
          numbers.push(header.number);
          if (numbers.length >= 4) done();
        });
      });
      check(numbers.every((number, at) => at === 0 || number === numbers[at - 1] + 1n), `one after the other: ${numbers}`);
      await subscription.unsubscribe();
    });
    web3.provider.disconnect();
  }
}
process.exit(0);
