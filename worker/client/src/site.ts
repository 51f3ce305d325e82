// The gallery's own /client.js: the client and the web component, in one file.

export * from "./index.js";
export * from "./element.js";
