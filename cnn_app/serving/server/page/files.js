// Files that a model may take, by the signature that takes them; those of images are as the server wrote the page.
export const [IMAGE, CLIP, AUDIO] = ["image_bytes", "clip_bytes", "audio_bytes"];
const KINDS = {
  [IMAGE]: { singular: "image", plural: "images" },
  [CLIP]: { singular: "clip", plural: "clips", accept: ".gif,.tar,.mp4,.m4v,.mov", formats: "An animated GIF, a TAR of frames, or MP4 where the server reads it." },
  [AUDIO]: { singular: "wave", plural: "waves", accept: ".wav", formats: "WAV of any rate." },
};

// The first signature for files that a model has; none, where it takes no files.
export const signatureOf = (takes) => Object.keys(KINDS).find(takes);

export const singular = (signature) => KINDS[signature].singular;
export const plural = (signature) => KINDS[signature]?.plural ?? "texts";

// Ask for such files: `chooser` is the input for them, `formats` says what they may be, `named` what they are.
export function invite(signature, chooser, formats, named) {
  KINDS[IMAGE].accept ??= chooser.accept;
  KINDS[IMAGE].formats ??= formats.textContent;
  chooser.accept = KINDS[signature].accept;
  formats.textContent = KINDS[signature].formats;
  named.textContent = KINDS[signature].plural;
}
