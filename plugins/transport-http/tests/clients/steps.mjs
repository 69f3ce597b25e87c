// What the scripts share: names for steps, and an end when one fails.

export const hex = (text) => "0x" + Buffer.from(text).toString("hex");

export function check(truth, what) {
  if (!truth) throw new Error(`not so: ${what}`);
}

export async function step(name, work) {
  const limit = new Promise((_, no) => setTimeout(() => no(new Error("no end within 20 s")), 20_000).unref());
  try {
    const result = await Promise.race([work(), limit]);
    console.log(`ok: ${name}`);
    return result;
  } catch (error) {
    console.error(`failed: ${name}:`, error);
    process.exit(1);
  }
}

export async function refused(work, code, word) {
  try {
    await work();
  } catch (error) {
    // Clients wrap the node's error in their own, each in another place.
    const text = JSON.stringify(error, (_, value) => (typeof value === "bigint" ? value.toString() : value)) + describe(error);
    check(text.includes(String(code)) && text.includes(word), `${code} and "${word}" in ${text}`);
    return;
  }
  throw new Error(`not refused: ${code}`);
}

function describe(error) {
  let text = "";
  for (let one = error; one; one = one.cause) text += ` ${one.code} ${one.message} ${JSON.stringify(one.data ?? null)}`;
  return text;
}
