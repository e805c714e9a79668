package ai.lram.dataset.format;

import ai.lram.dataset.FeatureSpec;
import ai.lram.dataset.MalformedDatasetException;
import ai.lram.dataset.UnsupportedFormatException;
import ai.lram.dataset.tfexample.Example;
import ai.lram.dataset.tfexample.Feature;
import com.google.protobuf.ByteString;
import com.google.protobuf.CodedInputStream;
import com.google.protobuf.DiscardUnknownFieldsParser;
import com.google.protobuf.UnsafeByteOperations;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Path;
import java.util.List;
import java.util.zip.DataFormatException;
import java.util.zip.Inflater;

/** One episode as it stands in a record: lists of values under {@code steps/...}, all steps' values in a row. */
final class RldsRecord {
    private static final String STEPS = "steps/";
    /** Deflate reaches 1032, JPEG less; beyond this, declared sizes are taken for a lie. */
    private static final long MAX_EXPANSION = 2048;

    private final Path file;
    private final long number;
    private final Example example;

    /** Parses {@code record}, which is handed over: byte strings keep pointing into it. */
    RldsRecord(Path file, long number, byte[] record) {
        this.file = file;
        this.number = number;
        try {
            CodedInputStream in = UnsafeByteOperations.unsafeWrap(record).newCodedInput();
            in.enableAliasing(true);
            example = DiscardUnknownFieldsParser.wrap(Example.parser()).parseFrom(in);
            in.checkLastTagWas(0);
        } catch (IOException e) {
            throw new MalformedDatasetException(
                    "TFRecord file " + file + ", episode " + number + " cannot be decoded",
                    e.getClass().getSimpleName() + ": " + e.getMessage(),
                    "its records are no tf.train.Example; restore the file from its source",
                    e);
        }
    }

    Example example() {
        return example;
    }

    Feature feature(RldsFeature field) {
        Feature feature = example.getFeatures().getFeatureMap().get(STEPS + field.path());
        if (feature == null) {
            throw malformed(
                    "there is no " + STEPS + field.path(),
                    "features.json declares it; the record has "
                            + example.getFeatures().getFeatureMap().keySet());
        }
        return feature;
    }

    /** Entries of the field's list, whose kind must be the declared one. */
    int entries(Feature feature, RldsFeature field) {
        Feature.KindCase kind = feature.getKindCase();
        Feature.KindCase declared;
        if (field.kind() == RldsFeature.Kind.TEXT || field.isOneStringAStep()) {
            declared = Feature.KindCase.BYTES_LIST;
        } else {
            declared = field.type().isFloat() ? Feature.KindCase.FLOAT_LIST : Feature.KindCase.INT64_LIST;
        }
        if (kind != declared && kind != Feature.KindCase.KIND_NOT_SET) {
            throw malformed("field " + field.path() + " is a " + kind, "its declaration asks for a " + declared);
        }
        return switch (kind) {
            case BYTES_LIST -> feature.getBytesList().getValueCount();
            case FLOAT_LIST -> feature.getFloatList().getValueCount();
            case INT64_LIST -> feature.getInt64List().getValueCount();
            case KIND_NOT_SET -> 0;
        };
    }

    /** Checks that encoded values can be as many as {@code steps} steps need, before memory is taken for them. */
    void checkSize(Feature feature, RldsFeature field, int steps) {
        long encoded = 0;
        for (ByteString value : feature.getBytesList().getValueList()) {
            encoded += value.size();
        }
        long values = (long) steps * field.width() * field.type().bytes();
        boolean raw = field.encoding() == RldsFeature.Encoding.BYTES;
        if (raw ? values != encoded : values / MAX_EXPANSION > encoded) {
            throw malformed(
                    "field " + field.path() + " has " + encoded + " encoded bytes",
                    steps + " steps of shape " + field.shape() + " and dtype " + field.type() + " are " + values);
        }
    }

    /** Number of values of {@code rows} rows. */
    int size(int rows, int width) {
        long size = (long) rows * width;
        if (size > Integer.MAX_VALUE - 8) {
            throw new UnsupportedFormatException(
                    "episode " + number + " of " + file + " is too long",
                    rows + " rows of " + width + " values exceed 2^31",
                    "cut the episode");
        }
        return (int) size;
    }

    /** Copies the first {@code rows} steps of a numeric field to {@code target}, {@code stride} values apart. */
    void copy(Feature feature, RldsFeature field, int rows, float[] target, int offset, int stride) {
        int width = field.width();
        if (field.encoding() != RldsFeature.Encoding.NONE) {
            List<ByteString> encoded = feature.getBytesList().getValueList();
            byte[] raw = new byte[width * field.type().bytes()];
            ByteBuffer values = ByteBuffer.wrap(raw).order(ByteOrder.LITTLE_ENDIAN);
            for (int row = 0; row < rows; row++) {
                unpack(encoded.get(row), field, raw);
                values.clear();
                for (int i = 0; i < width; i++) {
                    target[row * stride + offset + i] = field.type().isFloat()
                            ? field.type().real(values)
                            : exact(field, field.type().whole(values));
                }
            }
            return;
        }
        for (int row = 0; row < rows; row++) {
            for (int i = 0; i < width; i++) {
                int at = row * width + i;
                target[row * stride + offset + i] = field.type().isFloat()
                        ? feature.getFloatList().getValue(at)
                        : exact(field, feature.getInt64List().getValue(at));
            }
        }
    }

    private void unpack(ByteString encoded, RldsFeature field, byte[] raw) {
        if (field.encoding() == RldsFeature.Encoding.BYTES) {
            if (encoded.size() != raw.length) {
                throw malformed(
                        "a step of field " + field.path() + " has " + encoded.size() + " bytes",
                        "shape " + field.shape() + " and dtype " + field.type() + " make " + raw.length);
            }
            encoded.copyTo(raw, 0);
            return;
        }
        try (Inflater inflater = new Inflater()) {
            inflater.setInput(encoded.asReadOnlyByteBuffer());
            int count = 0;
            while (count < raw.length) {
                int got = inflater.inflate(raw, count, raw.length - count);
                if (got == 0) {
                    break;
                }
                count += got;
            }
            if (count < raw.length || inflater.inflate(new byte[1]) > 0 || !inflater.finished()) {
                throw malformed(
                        "a step of field " + field.path() + " does not decompress to " + raw.length + " bytes",
                        "shape " + field.shape() + " and dtype " + field.type() + " need as many");
            }
        } catch (DataFormatException e) {
            throw malformed(
                    "a step of field " + field.path() + " cannot be decompressed", "zlib says " + e.getMessage());
        }
    }

    private float exact(RldsFeature field, long value) {
        if (value > 1 << 24 || value < -(1 << 24)) {
            throw malformed("field " + field.path() + " holds " + value, "whole numbers are exact up to 2^24 only");
        }
        if (value < 0 && field.type() == RldsFeature.Type.UINT64) {
            throw malformed(
                    "field " + field.path() + " holds " + Long.toUnsignedString(value),
                    "whole numbers are exact up to 2^24 only");
        }
        return value;
    }

    /** Images of the first {@code rows} steps, channels first. */
    byte[] pixels(Feature feature, RldsFeature field, FeatureSpec spec, int rows) {
        byte[] pixels = new byte[size(rows, spec.width())];
        for (int row = 0; row < rows; row++) {
            try {
                byte[] encoded = feature.getBytesList().getValue(row).toByteArray();
                EncodedImage.decode(spec, encoded, pixels, row * spec.width());
            } catch (IOException e) {
                throw new MalformedDatasetException(
                        context() + "the image " + field.path() + " of step " + row + " cannot be used",
                        e.getMessage(),
                        "shape " + field.shape() + " is declared; restore the file or leave the image out",
                        e);
            }
        }
        return pixels;
    }

    /** The first step's text. */
    String text(Feature feature, RldsFeature field) {
        return feature.getBytesList().getValue(0).toStringUtf8();
    }

    MalformedDatasetException malformed(String what, String why) {
        return new MalformedDatasetException(context() + what, why, "restore the file from its source");
    }

    private String context() {
        return "TFRecord file " + file + ", episode " + number + ": ";
    }
}
