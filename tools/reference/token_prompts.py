"""The prompts whose ids the tokenizer tests compare: what people type, and what they paste by accident."""

PHOTOS = """a photo of a cat
A photo of an astronaut riding a horse on Mars, 4K, highly detailed
portrait of a woman's face, (masterpiece:1.2), [best quality], ((sharp focus)), 8k uhd, dslr, f/1.8
cyberpunk city at night, neon lights, rain-soaked streets, by Greg Rutkowski & Alphonse Mucha
a small red star left of a large blue circle on a yellow background
don't can't won't it's we're they've I'm you'll he'd DON'T IT'S rock'n'roll 'tis o'clock
watercolour painting of a fox in the snow -- soft light, muted palette, 35mm film grain
logo of a coffee shop, vector, flat, #ff8800 on #ffffff, minimal
1girl, solo, long hair, blue_eyes, school_uniform, looking_at_viewer
an oil painting of Napoléon Bonaparte crossing the Alps in 1801, after Jacques-Louis David
"OPEN 24/7" written on a wooden sign; a bird sits on it!
price: $19.99 (20% off) - call +1 (555) 010-9999 or e-mail me@example.com
http://example.com/some/path?x=1&y=2#frag
C:\\Users\\me\\Pictures\\cat.png
<lora:add_detail:0.8> a castle BREAK a dragon AND a knight
x^2 + y^2 = r^2, E=mc^2, a_i <= b_j != c | d & e ~ f
{red|green|blue} ball, __colour__ wildcard, $var ${var} %s %d
SELECT * FROM users; DROP TABLE prompts; --
int main() { return 0; } // comment /* block */
hello, world!! how are you??? fine... thanks :-) ;-) <3 ^_^
ALL CAPS PROMPT FOR A VERY LOUD PICTURE
camelCaseWords and snake_case_words and kebab-case-words
supercalifragilisticexpialidocious antidisestablishmentarianism
the the the the the the the the
aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
ababababababababababababab
!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!
..........
-------- ======== ________ ########
0 1 12 123 1234 12345 1234567890 3.14159 1,000,000 1e-10 0x1F 2nd 1980s
'quoted' "double" `back` ''two'' ‘curly’ “double curly” „low“ «guillemets» ‹single›
's 't 're 've 'm 'll 'd 'S 'T ' s '' ''s
a!'s b?'re c.'ll
state-of-the-art, mother-in-law's, e.g., i.e., etc.""".split("\n")

LANGUAGES = """une photo d'un chat noir assis sur une fenêtre, éclairage doux
ein großer Straßenhund läuft über die Brücke, Öl auf Leinwand, ÄÖÜ äöü ß ẞ
una niña con un sombrero rojo en la montaña, ¿qué es? ¡hola!
um cão são João, coração, avô e avó
žluťoučký kůň úpěl ďábelské ódy
Zażółć gęślą jaźń
árvíztűrő tükörfúrógép
İstanbul'da ılık bir akşam, IĞDIR ıI iİ
Þórður æfir ðað
Tiếng Việt: một con mèo đen ngồi trên cửa sổ
фотография чёрного кота на окне, ЁЖ ё Й й
світлина київського трамвая, ґанок, їжак
Ελληνικά: ΟΔΥΣΣΕΥΣ, ὀδυσσεύς, Σίσυφος ς σ Σ
עברית: תמונה של חתול, שָׁלוֹם
العربية: صورة قطة سوداء، ١٢٣ ﷺ لا
فارسی: می‌خواهم گربه ۱۲۳
اردو: ایک کالی بلی کی تصویر
हिन्दी: एक काली बिल्ली की तस्वीर, क्षत्रिय ज्ञान १२३
বাংলা: একটি কালো বিড়াল
தமிழ்: ஒரு கருப்பு பூனை
తెలుగు: నల్ల పిల్లి
ไทย: รูปแมวดำนั่งอยู่ที่หน้าต่าง น้ำ
ລາວ: ຮູບແມວດຳ ຳ
မြန်မာ: ကြောင်နက်
ខ្មែរ: រូបឆ្មាខ្មៅ
ქართული: შავი კატა ᲥᲐᲠᲗᲣᲚᲘ
Հայերեն: սև կատու և ԵՒ
አማርኛ: ጥቁር ድመት
日本語: 窓辺に座る黒い猫の写真、ガガ、ﾊﾝｶｸ ｶﾞ
中文：一只黑猫坐在窗台上的照片，高清，８Ｋ
繁體中文：黑貓，龍、鬱、𠮷野家
한국어: 창가에 앉은 검은 고양이 사진 각 뷁
ᄀᆞᆨ ㄱㄴㄷ ㅏㅑ
བོད་ཡིག
ᏣᎳᎩ ꮳꮃꭹ
ᚠᚢᚦᚨᚱᚲ
𐌰𐌱𐌲 𐎀𐎁 𓀀𓂀
Ꙋꙋ Ⰰⰰ Ⲁⲁ 𐐀𐐨 Ა ა""".split("\n")

EMOJI = ["\U0001F600", "\U0001F600\U0001F601\U0001F602", "a \U0001F431 cat", "\U0001F469\u200D\U0001F469\u200D\U0001F467\u200D\U0001F466",
         "\U0001F44D\U0001F3FD", "\U0001F469\U0001F3FF\u200D\U0001F680 astronaut", "\u2764\ufe0f \u2764 \u2764\ufe0e",
         "\U0001F1E9\U0001F1EA\U0001F1EB\U0001F1F7", "\U0001F1E9", "\U0001F3F3\ufe0f\u200D\U0001F308", "1\ufe0f\u20e3 #\ufe0f\u20e3",
         "\U0001F3F4\U000E0067\U000E0062\U000E0065\U000E006E\U000E0067\U000E007F", "\u00a9\u00ae\u2122\u00a9\ufe0f", "\u200D\U0001F600\u200D",
         "\U0001FAE0\U0001FAE8\U0001FAE9", "\u2600\u2601\u2602\u2603", "\u265f\ufe0f chess", "text\U0001F600text\U0001F600", "\U0001F468\u200D\u2695\ufe0f doctor"]

MARKS = ["caf\u00e9", "cafe\u0301", "CAFE\u0301", "e\u0301\u0323 e\u0323\u0301 \u1eb9\u0301", "a\u0308o\u0308u\u0308 A\u030a \u212b \u00c5",
         "q\u0301 x\u0302\u0303\u0304", "\u0301alone", "\u0041\u0301\u0301\u0301\u0301\u0301\u0301\u0301\u0301", "Z\u0351\u036b\u0343a\u034al\u0349g\u0316o\u0321",
         "\u0130 \u0131 I\u0307 i\u0307", "\u03a3 \u03c3 \u03c2 \u039f\u03a3 \u039f\u03a3.", "\u00df \u1e9e SS ss", "\u212a K k \u2126 \u03a9",
         "\ufb00\ufb01\ufb02\ufb03\ufb04\ufb05\ufb06", "\u01c4\u01c5\u01c6 \u01f1\u01f2\u01f3", "\u0149 \u01f0 \u0390", "\u00b2\u00b3\u00b9 \u2070\u2074 \u2080\u2081 x\u00b2\u0301",
         "\u00bc\u00bd\u00be \u2153 \u215b", "\u2460\u2461\u2469 \u24b6\u24d0 \u3251", "\u2160\u2161\u216b \u2170", "\uff21\uff22\uff43 \uff11\uff12 \uff01\uff1f\uff5e",
         "\uff76\uff9e\uff77\uff9e \uff8a\uff9f", "\u30ab\u3099 \u304b\u3099", "\u3300\u3301 \u33a1 \u337b", "\u1100\u1161\u11a8 \uac00\u11a8", "\U0001D400\U0001D41A\U0001D7CE \U0001D49C",
         "\u2100\u2116\u2121 \u2030 \u2031", "\u00aa\u00ba \u02b0", "\u0675\u0676 \ufdfa \ufefb", "\u0600\u0031 \u06dd2", "\u0e33 \u0eb3 \u0f77", "\u0958 \u09dc \u0b5c",
         "\u2adc \ufb1d \ufb2a \U0002F800 \uf900", "\u0344 \u0374 \u037e \u0387", "\u00c5\u0327 \u00c7\u030a", "\u1e9b\u0323", "o\u0302\u0323\u0301 \u1ed9\u0301", "\u00b5 \u03bc", "\u017f \u2c7f",
         "\u1c89 \ua7cb \U00010d50 \U00016ea0 \ua7dc", "a\u0897 \u00b2\u0897 \u24601\u1ad3 \u00a0\u1acf", "a\u0898\u0323\u0301 a\u1abf\u0301"]

SPACES = ["", " ", "  ", "          ", "\t", "\n", "\r\n", "\t\n \r\n ", "\u00a0", "\u3000\u3000", "\u2003", "\u200b", "\ufeff", "\u2028\u2029", "\u0085",
          " leading", "trailing ", " both ", "  two  spaces  between  ", "a\tb\tc", "a\nb\nc", "a\r\nb", "a \n b", "line one\n\nline two\n", "\ta\t", "a\u00a0b", "a\u2009b\u2003c\u3000d",
          "a\u200bb", "a\u200cb\u200dc", "a\ufeffb", "\ufeffbom", "a\u00adb soft\u00adhyphen", "a\u2060b", "a\u180eb", "a\u1680b", "a\u202fb\u205fc", "a\u0085b", "a\u2028b\u2029c", "a\u000bb\u000cc",
          "\u2581", "\u2581a\u2581b", "a \u2581 b", "\u2581\u2581\u2581", " \u2581", "\u2581 \u2581 x", "a  \u2581b", "\u200e\u200fa\u202ab\u202cc", "a    b     c", "\u00a0\u00a0a", "   \ta", "a .  b ,c"]

CONTROLS = ["\x00", "a\x00b", "\x01\x02\x03", "\x01a", "a\x01", "a\x07b\x08c", "\x1b[31mred\x1b[0m", "a\x7fb", "a\x80\x81\x9fb", "\x1f\x1e x", "\x01\x01 a", "a\x0eb\x0fc", "\ufffd", "a\ufffdb",
            "\ufffe \uffff", "\U0010ffff \U000fffff", "\ue000\uf8ff", "\U000f0000 \U00100000", "\u0378\u0379", "\U0001f9ff\U0001faff\U0001fbff", "\U000e0001\U000e0020", "\ufff9a\ufffab\ufffb",
            "\U0002fffe", "\U0001d7ff\U0001d800", "\u2fff \u3040", "\u05f5 \u07b2", "\u0080", "\u009f\u00a0"]

HTML = ["a &amp; b", "&lt;b&gt;bold&lt;/b&gt;", "&#39;quoted&#39; &quot;text&quot;", "&nbsp;&nbsp;a", "&eacute;t&eacute; &euro;5", "&amp;amp; &amp;lt;", "<b>bold</b><br/>", "<p class=\"x\">text</p>", "&#x1F600; &#128512;", "&notanentity; & alone &;",
        "<!-- comment --> <?xml?>", "a &copy; 2024 &mdash; b"]

SPECIAL = ["<|endoftext|>", "<|startoftext|>", "a <|endoftext|> b", "a<|endoftext|>b", "<|startoftext|>a photo<|endoftext|>", "<|STARTOFTEXT|> <|ENDOFTEXT|>", "<|endoftext|><|endoftext|>", "<|endoftext|", "|endoftext|>", "< |endoftext|>", "<|end of text|>",
           "!<|endoftext|>", "'<|startoftext|>'", "  <|endoftext|>  ", "<|startoftext|", "x<|startoftext|>y<|StartOfText|>z", "<s>", "</s>", "a </s> b", "a</s>b", "</s></s>", "</S>", "<pad>", "<pad><pad> a", "<unk>", "a <unk> b", "<UNK> <Pad>", "<extra_id_0>",
           "The <extra_id_0> walks in <extra_id_1> park", "<extra_id_99>", "<extra_id_100>", "<extra_id_0><extra_id_1>", " <extra_id_0> ", "<extra_id_9> a", "a<extra_id_5>", "<extra_id_>", "<EXTRA_ID_0>", "extra_id_0", "<mask> [MASK] [CLS] [SEP]", "<|im_start|>", "<0x0A> <0xFF>",
           "</s> a", "</s>\u200ba", "\x01</s>a", "<extra_id_3>  two spaces", "\u2581<extra_id_0>\u2581", "<|endoftext|>'s"]

# For the variants of the small tokenizers: tokens that swallow spaces, single words, normalised tokens.
ADDED = ["a [L] b [R] c", "a   [L]   b   [R]   c", "[L][R] [L] [R]", "fox Fox FOX foxes fox_ fox. (fox) firefox", "The FOX and the fox", "\u24d5ox \uff26\uff2f\uff38", "x[L]", "[R]x", "   [L]", "[R]   ", "\t[L]\n[R]\u3000z", "fox\u0301 \u00e9fox fox1 fox-fox",
         "  \u00e9  caf\u00e9 Na\u00efve  ", " fox", "\u00a8 a", "\u00a8", "castle by the river", "we've seen it \U0001f600 zzz", "\u4e2d\u6587 \u4e2d", "  a", "\u3000a  b", "qqq\u4e2dqqq\u65e5\u672c", "\u00e9\u00e9\u00e9"]


def long_prompts():
    sentence = "a highly detailed picture of a cat sitting on a red sofa, "
    yield sentence * 12
    yield sentence * 60
    yield "word " * 75
    yield "word " * 76
    yield "a " * 300
    yield "x" * 400
    yield "supercali" * 80
    yield "\u732b" * 120
    yield "\U0001F431" * 40
    yield "<|endoftext|>" * 90
    yield "cat " * 74 + "<|endoftext|> tail"
    yield "</s>" * 20
    yield " ".join(str(n) for n in range(120))
    yield "\n".join(["line"] * 60)
    yield "e\u0301" * 100
    yield "antidisestablishmentarianism " * 15


def all_prompts():
    """Every prompt once, in a fixed order."""
    styles = ["oil painting", "pencil drawing", "3D render", "Pixel Art", "low-poly", "ukiyo-e", "art déco", "Bauhaus poster"]
    subjects = ["a lighthouse at dusk", "two cats & a dog", "the queen's garden", "an old man (smiling)", "a 1957 Chevrolet", "Mt. Fuji, snow-capped", "robots playing chess"]
    mixed = [f"{style} of {subject}" for style in styles for subject in subjects][:40]
    prompts = [*PHOTOS, *LANGUAGES, *EMOJI, *MARKS, *SPACES, *CONTROLS, *HTML, *SPECIAL, *ADDED, *long_prompts(), *mixed]
    return list(dict.fromkeys(prompts))
