// Made by `npm run generate` from openapi.yaml. Do not edit.
export type paths = Record<string, never>;
export type webhooks = Record<string, never>;
export interface components {
    schemas: {
        /** @enum {string} */
        Format: "webp" | "jpeg" | "avif";
        Widths: number[];
        Words: {
            title?: string;
            /** @description For those who do not see the image. */
            alt?: string;
            caption?: string;
            /** @description In lower case, without duplicates. */
            tags?: string[];
        };
        /** @description An image, without what can be derived. */
        Image: {
            title: string;
            /** @description For those who do not see the image. */
            alt: string;
            caption: string;
            /** @description In lower case, without duplicates. */
            tags: string[];
            id: string;
            width: number;
            height: number;
            /** @description Standard base64. */
            thumbhash: string;
            /** @description Like #8a7f6e. */
            color: string;
            created_at: string;
            /** @description Lists are in this order, the latest first. created_at is when the image was made: those uploaded together may be made in any order. */
            uploaded_at: string;
            /** @description When a photo says that it was taken: RFC 3339, without a zone if it names none; null if it does not, or if the daemon does not keep it. */
            taken_at: string | null;
            /** @description The stored widths of each format, ascending. */
            formats: {
                webp?: components["schemas"]["Widths"];
                jpeg?: components["schemas"]["Widths"];
                avif?: components["schemas"]["Widths"];
            };
            /** @description Whether it moves: in WebP, while the other formats have its first frame. */
            animated: boolean;
        };
        Source: {
            /** @description Of a <source>; null for the <img>. */
            type: string | null;
            srcset: string;
            /** @description Of a <source> that moves: only for those who have not asked for less motion. */
            media?: string;
        };
        /** @description An image with absolute URLs, ready to embed. */
        PublicImage: {
            title: string;
            /** @description For those who do not see the image. */
            alt: string;
            caption: string;
            /** @description In lower case, without duplicates. */
            tags: string[];
            id: string;
            width: number;
            height: number;
            /** @description Standard base64. */
            thumbhash: string;
            /** @description Like #8a7f6e. */
            color: string;
            created_at: string;
            /** @description Lists are in this order, the latest first. created_at is when the image was made: those uploaded together may be made in any order. */
            uploaded_at: string;
            /** @description When a photo says that it was taken: RFC 3339, without a zone if it names none; null if it does not, or if the daemon does not keep it. */
            taken_at: string | null;
            /** @description The stored widths of each format, ascending. */
            formats: {
                webp?: components["schemas"]["Widths"];
                jpeg?: components["schemas"]["Widths"];
                avif?: components["schemas"]["Widths"];
            };
            /** @description Whether it moves: in WebP, while the other formats have its first frame. */
            animated: boolean;
            /** @description Its page. */
            url: string;
            /** @description One file, for where there is no srcset. */
            src: string;
            /** @description For a <picture>, in this order. */
            sources: components["schemas"]["Source"][];
            html: string;
            markdown: string;
        };
        ImageList: {
            images: (components["schemas"]["PublicImage"] | components["schemas"]["Image"])[];
            /** @description Of the next page; null after the last. */
            cursor: string | null;
        };
        Trash: {
            images: {
                image: components["schemas"]["Image"];
                deleted_at: string;
                /** @description When it is deleted for good. */
                expires_at: string;
            }[];
            /** @description Of the next page; null after the last. */
            cursor: string | null;
        };
        Remake: {
            running: boolean;
            /** @description Images, as far as they are listed. */
            total: number;
            /** @description Those with new files. */
            done: number;
            /** @description Those whose files are as the ladder has them. */
            unchanged: number;
            /** @description Why it failed, by the id of the image. */
            failed: {
                [key: string]: string;
            };
        };
        SignedLink: {
            url: string;
            /** @description Null in a public gallery, where links do not expire. */
            expires_at: string | null;
        };
        InviteList: {
            invites: components["schemas"]["Invite"][];
        };
        Invite: {
            id: string;
            name: string;
            created_at: string;
            expires_at: string;
        };
        NewInvite: {
            id: string;
            name: string;
            created_at: string;
            expires_at: string;
            /** @description As a bearer token it allows adding images. */
            token: string;
            /** @description The link that signs a browser in. */
            url: string;
            /** @description The link as a QR code: a data: URL of an SVG. */
            qr: string;
        };
        Session: {
            owner: boolean;
            /** @description Whether the request has an invite, which allows adding images. */
            guest: boolean;
            /** @description Whether visitors see nothing without a signed link. */
            private: boolean;
        };
        /** @enum {string} */
        UploadStatus: "saved" | "working" | "storing" | "done" | "failed";
        UploadAccepted: {
            upload: string;
            status: components["schemas"]["UploadStatus"];
        };
        UploadParts: {
            upload: string;
            /** @description Of each part but the last. */
            part_bytes: number;
            parts: number;
        };
        Part: {
            part: number;
            etag: string;
        };
        Failure: {
            code: string;
            message: string;
        };
        Upload: {
            upload: string;
            status: components["schemas"]["UploadStatus"];
            /** @description Files. */
            stored: number;
            total: number;
            image: components["schemas"]["Image"] | null;
            /** @description Whether the image was there before. */
            duplicate: boolean;
            /** @description Why it failed or, while it is saved, why the optimizer does not have it yet. */
            error: components["schemas"]["Failure"] | null;
        };
        Problem: {
            type: string;
            title: string;
            status: number;
            detail: string;
            code: string;
        };
    };
    responses: never;
    parameters: never;
    requestBodies: never;
    headers: never;
    pathItems: never;
}
export type $defs = Record<string, never>;
export type operations = Record<string, never>;
