package ai.lram.dataset.format;

import ai.lram.dataset.UnsupportedFormatException;
import com.github.luben.zstd.ZstdInputStream;
import com.github.luben.zstd.ZstdOutputStream;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.ByteBuffer;
import java.util.Arrays;
import java.util.zip.GZIPInputStream;
import java.util.zip.GZIPOutputStream;
import org.apache.parquet.bytes.BytesInput;
import org.apache.parquet.compression.CompressionCodecFactory;
import org.apache.parquet.hadoop.metadata.CompressionCodecName;
import org.xerial.snappy.Snappy;

/**
 * Parquet page codecs without Hadoop: none, Snappy, gzip, Zstandard. A page whose real size differs from the size its
 * header claims is refused before memory of the claimed size is taken.
 */
final class Codecs implements CompressionCodecFactory {
    private interface Wrap<T> {
        T around(T stream) throws IOException;
    }

    @Override
    public BytesInputCompressor getCompressor(CompressionCodecName codec) {
        return switch (codec) {
            case UNCOMPRESSED -> compressor(codec, bytes -> bytes);
            case SNAPPY ->
                compressor(
                        codec,
                        bytes -> BytesInput.from(
                                Snappy.compress(bytes.toInputStream().readAllBytes())));
            case GZIP -> compressor(codec, bytes -> compress(bytes, GZIPOutputStream::new));
            case ZSTD -> compressor(codec, bytes -> compress(bytes, ZstdOutputStream::new));
            default -> throw unsupported(codec);
        };
    }

    @Override
    public BytesInputDecompressor getDecompressor(CompressionCodecName codec) {
        return switch (codec) {
            case UNCOMPRESSED -> new Decompressor((bytes, size) -> bytes);
            case SNAPPY -> new Decompressor(Codecs::unsnappy);
            case GZIP -> new Decompressor((bytes, size) -> decompress(bytes, size, GZIPInputStream::new));
            case ZSTD -> new Decompressor((bytes, size) -> decompress(bytes, size, ZstdInputStream::new));
            default -> throw unsupported(codec);
        };
    }

    @Override
    public void release() {
        // Nothing is held between pages.
    }

    private static UnsupportedFormatException unsupported(CompressionCodecName codec) {
        return new UnsupportedFormatException(
                "parquet compression " + codec + " is not supported",
                "known are UNCOMPRESSED, SNAPPY, GZIP and ZSTD",
                "rewrite the file with one of these");
    }

    private static byte[] unsnappy(byte[] bytes, int size) throws IOException {
        int actual = Snappy.uncompressedLength(bytes);
        if (actual != size) {
            throw new IOException("a Snappy page holds " + actual + " bytes, its header claims " + size);
        }
        byte[] result = new byte[size];
        Snappy.uncompress(bytes, 0, bytes.length, result, 0);
        return result;
    }

    private static byte[] decompress(byte[] bytes, int size, Wrap<InputStream> codec) throws IOException {
        try (InputStream in = codec.around(new ByteArrayInputStream(bytes))) {
            byte[] result = in.readNBytes(size);
            if (result.length != size || in.read() >= 0) {
                throw new IOException("a page does not hold the " + size + " bytes its header claims");
            }
            return result;
        }
    }

    private static BytesInput compress(BytesInput bytes, Wrap<OutputStream> codec) throws IOException {
        ByteArrayOutputStream result = new ByteArrayOutputStream();
        try (OutputStream out = codec.around(result)) {
            bytes.writeAllTo(out);
        }
        return BytesInput.from(result.toByteArray());
    }

    private interface Compress {
        BytesInput apply(BytesInput bytes) throws IOException;
    }

    private static BytesInputCompressor compressor(CompressionCodecName codec, Compress compress) {
        return new BytesInputCompressor() {
            @Override
            public BytesInput compress(BytesInput bytes) throws IOException {
                return compress.apply(bytes);
            }

            @Override
            public CompressionCodecName getCodecName() {
                return codec;
            }

            @Override
            public void release() {
                // Nothing is held between pages.
            }
        };
    }

    private interface Decompress {
        byte[] apply(byte[] bytes, int uncompressedSize) throws IOException;
    }

    private record Decompressor(Decompress codec) implements BytesInputDecompressor {
        @Override
        public BytesInput decompress(BytesInput bytes, int uncompressedSize) throws IOException {
            return BytesInput.from(codec.apply(bytes.toInputStream().readAllBytes(), uncompressedSize));
        }

        @Override
        public void decompress(ByteBuffer input, int compressedSize, ByteBuffer output, int uncompressedSize)
                throws IOException {
            byte[] bytes = new byte[Math.min(compressedSize, input.remaining())];
            input.get(bytes);
            output.put(Arrays.copyOf(codec.apply(bytes, uncompressedSize), uncompressedSize));
        }

        @Override
        public void release() {
            // Nothing is held between pages.
        }
    }
}
