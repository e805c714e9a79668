package ai.lram.agent.policy;

import ai.lram.agent.autodiff.Plan;
import ai.lram.agent.autodiff.Tape;
import ai.lram.agent.autodiff.Value;
import ai.lram.agent.vision.ImpalaCnn;
import ai.lram.backend.Backend;
import ai.lram.backend.DType;
import ai.lram.backend.Stream;
import ai.lram.backend.Tensor;
import ai.lram.backend.TensorArena;
import ai.lram.backend.ops.ComposedSteps;
import ai.lram.backend.ops.EmbedMemory;
import ai.lram.backend.ops.Ops;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.List;

/**
 * The images that the rows of a control step bring, in host-visible memory, and their encoder, whose answer takes the place of the state token
 * of the rows whose task is observed by an image.
 *
 * <p>A device engine encodes the image of every row, whether its task has one or not, up to {@value #MOST} at once: what is queued depends on the
 * number of rows alone and can be recorded. A table look-up then takes each row's token from those made of vectors or those made of images. A
 * host engine encodes those images that there are, one after the other, each as if it were alone.
 *
 * <p>One thread owns an instance. Filling and encoding allocate nothing of their own.
 */
final class StepImages {
    /** Images that a device encodes at once at most: they fill it, and need 30 MB of working memory. */
    private static final int MOST = 64;

    /** The encoder of so many images. */
    private record Encoder(Tensor pixels, Plan plan, Tensor encoded) {}

    /** Images of rows from {@code first} on, as many as {@code encoder} takes. */
    private record Piece(int first, Tensor images, Encoder encoder) {}

    private final Ops ops;
    private final Stream stream;
    private final int maxBatch;
    private final int width;
    private final Tensor images;
    private final MemorySegment hostImages;

    /** Of each row, which row of {@link #tokens} its state token is. */
    private final Tensor chosen;

    private final MemorySegment hostChosen;

    /** State tokens made of the rows' vectors, then those made of their images. */
    private final Tensor tokens;

    /** By the number of images, from 1 on. */
    private final Encoder[] encoders;

    /** Images that are encoded at once. */
    private final int most;

    /** The rows one after the other, {@link #most} in each. */
    private final Piece[] pieces;

    /**
     * @param arena owns the memory
     * @param width of a token
     */
    StepImages(Backend backend, TensorArena arena, ImpalaCnn encoder, int maxBatch, int width) {
        ops = backend.ops();
        stream = backend.stream();
        this.maxBatch = maxBatch;
        this.width = width;
        images = arena.hostVisible(DType.U8, maxBatch, ImpalaCnn.CHANNELS, ImpalaCnn.SIZE, ImpalaCnn.SIZE);
        hostImages = images.segment();
        chosen = arena.hostVisible(DType.I32, maxBatch);
        hostChosen = chosen.segment();
        tokens = arena.f32(2 * maxBatch, width);
        most = images.isHost() ? 1 : Math.min(MOST, maxBatch);
        encoders = encoders(backend, arena.child("image encoder"), encoder, most);
        pieces = new Piece[maxBatch / most];
        for (int i = 0; i < pieces.length; i++) {
            pieces[i] = piece(i * most, most);
        }
    }

    private static Encoder[] encoders(Backend backend, TensorArena arena, ImpalaCnn encoder, int most) {
        List<Tape> tapes = new ArrayList<>();
        List<Value> pixels = new ArrayList<>();
        List<Value> encoded = new ArrayList<>();
        for (int n = 1; n <= most; n++) {
            Tape tape = new Tape(backend, false);
            pixels.add(tape.input("pixels", DType.F32, n, ImpalaCnn.CHANNELS, ImpalaCnn.SIZE, ImpalaCnn.SIZE));
            encoded.add(tape.keep(encoder.encode(tape, pixels.getLast())));
            tapes.add(tape);
        }
        List<Plan> plans = Tape.plans(arena, tapes);
        Encoder[] all = new Encoder[most + 1];
        for (int n = 1; n <= most; n++) {
            all[n] = new Encoder(
                    pixels.get(n - 1).tensor(),
                    plans.get(n - 1),
                    encoded.get(n - 1).tensor());
        }
        return all;
    }

    private Piece piece(int first, int count) {
        return new Piece(first, images.slice(first, count), encoders[count]);
    }

    /** Images and tokens as a batch of as many rows uses them as {@code memory} has. */
    Rows rows(EmbedMemory memory) {
        return new Rows(memory);
    }

    /** Views for a batch of n rows. */
    final class Rows {
        private final int n;
        private final EmbedMemory vectors;
        private final Tensor states;
        private final Tensor choice;

        /** What no piece of {@link #most} rows holds; null where there is nothing. */
        private final Piece rest;

        private Rows(EmbedMemory memory) {
            n = memory.joined().dim(0);
            states = memory.encoded().get(StepExchange.STATE);
            if (n == 1) {
                vectors = memory;
            } else {
                List<Tensor> encoded = new ArrayList<>(memory.encoded());
                encoded.set(StepExchange.STATE, tokens.slice(0, n));
                vectors = new EmbedMemory(encoded, memory.joined());
            }
            choice = chosen.slice(0, n);
            int left = n % most;
            rest = left == 0 ? null : piece(n - left, left);
        }

        /** Takes the images of a batch of n rows in; says whether there are any. */
        boolean fill(PolicyBatch batch, SlotBindings bindings) {
            int bytes = (int) (hostImages.byteSize() / maxBatch);
            boolean any = false;
            for (int row = 0; row < n; row++) {
                boolean seen = bindings.codec(batch.slot[row]).imageBytes() > 0;
                if (seen) {
                    MemorySegment.copy(
                            batch.image[row], 0, hostImages, ValueLayout.JAVA_BYTE, (long) row * bytes, bytes);
                }
                hostChosen.setAtIndex(ValueLayout.JAVA_INT, row, seen ? maxBatch + row : row);
                any |= seen;
            }
            return any;
        }

        /** Where {@link ComposedSteps#encode} leaves the tokens before {@link #encode}. */
        EmbedMemory vectors() {
            return vectors;
        }

        /** Queues what leaves each row's tokens in the memory that these views are for. */
        void encode() {
            for (int i = 0; i < n / most; i++) {
                encode(pieces[i]);
            }
            if (rest != null) {
                encode(rest);
            }
            if (n > 1) {
                ops.embedding().lookup(stream, choice, tokens, states);
            }
        }

        private void encode(Piece p) {
            if (images.isHost() && hostChosen.getAtIndex(ValueLayout.JAVA_INT, p.first) < maxBatch) {
                return;
            }
            Encoder e = p.encoder;
            ops.elementwise().fromBytes(stream, p.images, ImpalaCnn.PIXEL, e.pixels);
            e.plan.queue();
            int floats = Math.toIntExact(e.encoded.size());
            Tensor to = n == 1 ? states : tokens;
            long at = n == 1 ? 0 : (long) (maxBatch + p.first) * width;
            ops.elementwise().copyRows(stream, 1, floats, e.encoded, 0, floats, to, at, floats, false);
        }
    }
}
