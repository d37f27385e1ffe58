// Asks the server. The token is behind the # of the address, which browsers send to nobody.
const token = location.hash.slice(1);
const headers = { authorization: `Bearer ${token}` };

export const MOST = 11 << 20; // bytes of a photo: the base64 of it fits into a request

async function answered(response) {
  if (response.ok) return response;
  let told = `the server says ${response.status}`;
  try {
    const { detail } = await response.json();
    if (typeof detail === "string") told = detail;
    else if (detail?.[0]) told = `${detail[0].loc.slice(1).join(" ")}: ${detail[0].msg}`;
  } catch {}
  if (response.status === 401) told = "open the address that the command has printed, with what stands behind its #";
  throw new Error(told);
}

async function asked(path, options) {
  try {
    return await answered(await fetch(path, options));
  } catch (error) {
    throw error instanceof TypeError ? new Error("the server doesn't answer; has it been stopped?") : error;
  }
}

export const get = async (path) => (await asked(path, { headers })).json();

export const picture = async (path) => URL.createObjectURL(await (await asked(path, { headers })).blob());

export const post = async (path, body) =>
  (await asked(path, {
    method: "POST",
    headers: { ...headers, "content-type": "application/json" },
    body: JSON.stringify(body),
  })).json();

export function base64(file) {
  return new Promise((done, failed) => {
    const reader = new FileReader();
    reader.onload = () => done(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.onerror = () => failed(new Error("the file can't be read"));
    reader.readAsDataURL(file);
  });
}
