// Requests to the server that served this page.

const token = new URLSearchParams(location.search).get("token") ?? "";

// The server refused, or couldn't be reached: status 0.
export class Refusal extends Error {
  constructor(status, problems) {
    super(problems.map((each) => each.what).join("; "));
    this.status = status;
    this.problems = problems;
  }
}

export const get = (path, values = {}) => send(`${path}?${new URLSearchParams(values)}`, {});

export const post = (path, values) =>
  send(path, {
    method: "POST",
    body: JSON.stringify(values),
    headers: { "content-type": "application/json" },
  });

export const photoAddress = (id, version) => `/photo?${new URLSearchParams({ id, v: version })}`;

async function send(address, options) {
  let response;
  try {
    const headers = { ...options.headers, "x-review-token": token };
    response = await fetch(address, { ...options, headers });
  } catch {
    throw new Refusal(0, [{ where: "", what: "the server can't be reached; is it still running?" }]);
  }
  if (response.ok) return response.json();
  let problems = [{ where: "", what: `the server answered ${response.status}` }];
  if ((response.headers.get("content-type") ?? "").includes("json")) {
    problems = (await response.json()).problems ?? problems;
  } else if (response.status < 500) {
    problems = [{ where: "", what: (await response.text()).trim() }];
  }
  throw new Refusal(response.status, problems);
}
