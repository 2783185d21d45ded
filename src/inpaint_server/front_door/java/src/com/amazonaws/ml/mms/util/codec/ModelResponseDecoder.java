package com.amazonaws.ml.mms.util.codec;

import com.amazonaws.ml.mms.util.messages.ModelWorkerResponse;
import com.amazonaws.ml.mms.util.messages.Predictions;
import io.netty.buffer.ByteBuf;
import io.netty.channel.ChannelHandlerContext;
import io.netty.handler.codec.ByteToMessageDecoder;
import io.netty.handler.codec.CorruptedFrameException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * Reads a worker's replies; replaces the model server's own class of this name.
 *
 * <p>That one fails, and costs the worker, when a reply's bytes arrive in two pieces that part within a header. This one
 * begins again when more have arrived. Integers have four bytes; a text or a body is its length and then its bytes.
 */
public class ModelResponseDecoder extends ByteToMessageDecoder {
    private static final int NO_MORE_PREDICTIONS = -1;

    private final int maxLength;

    public ModelResponseDecoder(int maxLength) {
        this.maxLength = maxLength;
    }

    @Override
    protected void decode(ChannelHandlerContext context, ByteBuf in, List<Object> out) {
        in.markReaderIndex();
        try {
            out.add(response(in));
        } catch (IndexOutOfBoundsException incomplete) {
            in.resetReaderIndex();
        }
    }

    private ModelWorkerResponse response(ByteBuf in) {
        ModelWorkerResponse response = new ModelWorkerResponse();
        response.setCode(in.readInt());
        response.setMessage(text(in, in.readInt()));
        List<Predictions> predictions = new ArrayList<>();
        for (int length = in.readInt(); length != NO_MORE_PREDICTIONS; length = in.readInt()) {
            Predictions prediction = new Predictions();
            prediction.setRequestId(text(in, length));
            prediction.setContentType(text(in, in.readInt()));
            prediction.setStatusCode(in.readInt());
            prediction.setReasonPhrase(text(in, in.readInt()));
            prediction.setHeaders(headers(in));
            prediction.setResp(bytes(in, in.readInt()));
            predictions.add(prediction);
        }
        response.setPredictions(predictions);
        return response;
    }

    private Map<String, String> headers(ByteBuf in) {
        Map<String, String> headers = new HashMap<>();
        for (int left = in.readInt(); left > 0; left--) {
            String name = text(in, in.readInt());
            headers.put(name, text(in, in.readInt()));
        }
        return headers;
    }

    private String text(ByteBuf in, int length) {
        return new String(bytes(in, length), StandardCharsets.UTF_8);
    }

    private byte[] bytes(ByteBuf in, int length) {
        if (length < 0 || length > maxLength) {
            throw new CorruptedFrameException("A worker's reply has a part of " + length + " bytes.");
        }
        if (length > in.readableBytes()) {
            throw new IndexOutOfBoundsException(); // before memory is taken for bytes that have not arrived
        }
        byte[] bytes = new byte[length];
        in.readBytes(bytes);
        return bytes;
    }
}
