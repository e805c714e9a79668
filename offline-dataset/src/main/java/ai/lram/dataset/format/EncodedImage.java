package ai.lram.dataset.format;

import ai.lram.dataset.FeatureSpec;
import java.awt.image.BufferedImage;
import java.awt.image.IndexColorModel;
import java.awt.image.Raster;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.util.Iterator;
import javax.imageio.ImageIO;
import javax.imageio.ImageReader;
import javax.imageio.stream.ImageInputStream;
import javax.imageio.stream.MemoryCacheImageInputStream;

/** Decodes PNG and JPEG images of a declared size into bytes, channels first. */
final class EncodedImage {
    private EncodedImage() {}

    /**
     * Writes the pixels of {@code encoded} to {@code pixels} from {@code offset}. The header must show the declared size
     * before anything is decoded, so that a lying header costs no memory.
     *
     * @param spec 1 (gray) or 3 (red, green, blue) channels, height, width
     * @throws IOException if it is no such image; the message says why
     */
    static void decode(FeatureSpec spec, byte[] encoded, byte[] pixels, int offset) throws IOException {
        int channels = spec.shape().get(0);
        int height = spec.shape().get(1);
        int width = spec.shape().get(2);
        BufferedImage image = read(encoded, height, width);
        Raster raster = image.getRaster();
        boolean gray = raster.getNumBands() <= 2
                && raster.getSampleModel().getSampleSize(0) == 8
                && !(image.getColorModel() instanceof IndexColorModel);
        int plane = height * width;
        for (int y = 0; y < height; y++) {
            for (int x = 0; x < width; x++) {
                int rgb = gray ? raster.getSample(x, y, 0) * 0x010101 : image.getRGB(x, y);
                if (channels == 1 && (rgb >> 16 & 0xff) != (rgb & 0xff) | (rgb >> 8 & 0xff) != (rgb & 0xff)) {
                    throw new IOException("it has colours where one channel is declared");
                }
                for (int c = 0; c < channels; c++) {
                    pixels[offset + c * plane + y * width + x] = (byte) (rgb >> 16 - 8 * c);
                }
            }
        }
    }

    private static BufferedImage read(byte[] encoded, int height, int width) throws IOException {
        try (ImageInputStream in = new MemoryCacheImageInputStream(new ByteArrayInputStream(encoded))) {
            Iterator<ImageReader> readers = ImageIO.getImageReaders(in);
            if (!readers.hasNext()) {
                throw new IOException("it is no known kind of image");
            }
            ImageReader decoder = readers.next();
            try {
                decoder.setInput(in);
                if (decoder.getHeight(0) != height || decoder.getWidth(0) != width) {
                    throw new IOException("it has " + decoder.getWidth(0) + "x" + decoder.getHeight(0) + " pixels");
                }
                return decoder.read(0);
            } finally {
                decoder.dispose();
            }
        } catch (RuntimeException e) {
            throw new IOException(e.toString(), e);
        }
    }
}
