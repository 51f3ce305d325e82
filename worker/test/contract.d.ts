/** Made by test/node/contract.ts. */
declare module "virtual:contract" {
  export const document: { paths: object; components: { responses: object } };
}
