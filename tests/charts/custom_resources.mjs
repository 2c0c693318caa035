// Says what is wrong with custom resources: one object as JSON a line in, {faults, open} a line out.
// Usage: node custom_resources.mjs FOLDER, which holds the node_modules of package.json.
//
// The validators in the packages are compiled from CRDs and let unknown fields pass. They ask an object for every field
// that its schema names, so what they asked for is what the schema knows: whatever else an object has is a fault.
// An object of which nothing is asked has no closed schema; its path goes to `open`.
import { createInterface } from "node:readline";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const PACKAGES = {
  "cert-manager.io": "cert-manager",
  "gateway.networking.k8s.io": "gateway-api",
  "monitoring.coreos.com": "prometheus-operator",
  "networking.istio.io": "istio",
  "security.istio.io": "istio",
};

// `asked` maps the path of each object to the names that were asked of it.
function listening(value, path, asked) {
  if (value === null || typeof value !== "object") return value;
  const names = new Set();
  asked.set(path, { names, value });
  const children = new Map();
  return new Proxy(value, {
    get(target, name) {
      if (typeof name !== "string" || Array.isArray(target)) {
        const found = target[name];
        return typeof name === "string" && /^\d+$/.test(name) ? child(name, found) : found;
      }
      names.add(name);
      return Object.hasOwn(target, name) ? child(name, target[name]) : undefined;
    },
  });
  function child(name, found) {
    if (!children.has(name)) children.set(name, listening(found, path ? `${path}.${name}` : name, asked));
    return children.get(name);
  }
}

async function examine(found) {
  const [group, version] = found.apiVersion.split("/");
  const folder = join(process.argv[2], "node_modules/@kubernetes-models", PACKAGES[group]);
  const module = await import(pathToFileURL(join(folder, group, version, `${found.kind}.js`)));
  const asked = new Map();
  const faults = [];
  try {
    module[found.kind].prototype.validate.call(listening(found, "", asked));
  } catch (error) {
    if (!error.errors) throw error;
    for (const each of error.errors) {
      faults.push(`${each.instancePath.slice(1).replaceAll("/", ".")}: ${each.message}`);
    }
  }
  const open = [];
  for (const [path, { names, value }] of asked) {
    if (Array.isArray(value)) continue;
    const own = Object.keys(value);
    if (own.length && !names.size) open.push(path);
    else faults.push(...own.filter((name) => !names.has(name)).map((name) => `${path}: unknown field ${name}`));
  }
  return { faults, open };
}

for await (const line of createInterface({ input: process.stdin })) {
  const found = JSON.parse(line);
  let answer;
  try {
    answer = await examine(found);
  } catch (error) {
    answer = { faults: [`no schema for ${found.apiVersion} ${found.kind}: ${error.message}`], open: [] };
  }
  process.stdout.write(JSON.stringify(answer) + "\n");
}
